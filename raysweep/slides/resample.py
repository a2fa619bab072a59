"""Crops of a few sizes to patches of one size: the one resize."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch

_BATCH_BYTES = 2**21  # small crops share a call, which is up to three times as fast; large ones need not


def resample(crops: Iterable[np.ndarray], px: int) -> Iterator[np.ndarray]:
    """Each uint8 (h, w, 3) crop as a patch, in order and in batches, uint8 (n, px, px, 3), in one antialiased resize.

    A crop of that size is kept as it is. A crop may be overwritten once the next one is asked for, and so may a batch.
    """
    memory: dict[tuple[int, ...], np.ndarray] = {}
    batch, n = np.empty((0, 0, 0, 3), np.uint8), 0
    for crop in crops:
        if n and (n == len(batch) or crop.shape != batch.shape[1:]):
            yield _resized(batch[:n], px)
            n = 0
        if 2 * crop.nbytes > _BATCH_BYTES:
            yield _resized(crop.reshape(1, *crop.shape), px)  # crop[None] hides from torch how it is laid out
            continue
        if n == 0:
            batch = memory.setdefault(crop.shape, np.empty((_BATCH_BYTES // crop.nbytes, *crop.shape), np.uint8))
        batch[n] = crop
        n += 1
    if n:
        yield _resized(batch[:n], px)


def _resized(crops: np.ndarray, px: int) -> np.ndarray:
    if crops.shape[1:3] == (px, px):
        return crops
    planes = torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2)  # channels last: torch's fast way
    small = torch.nn.functional.interpolate(planes, size=(px, px), mode="bicubic", antialias=True)
    return small.permute(0, 2, 3, 1).contiguous().numpy()
