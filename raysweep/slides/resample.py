"""Crops of a few sizes to patches of one size: the one resize."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch

_BATCH_BYTES = 2**21  # small crops share a call, which is up to three times as fast; large ones need not


def resample(crops: Iterable[np.ndarray], px: int) -> Iterator[np.ndarray]:
    """Each uint8 (h, w, 3) crop as a uint8 (px, px, 3) patch, in order, in one antialiased resize.

    A crop of that size is kept as it is. A crop may be overwritten once the next one is asked for.
    """
    batch: list[np.ndarray] = []
    for crop in crops:
        if batch and (crop.shape != batch[0].shape or (len(batch) + 1) * crop.nbytes > _BATCH_BYTES):
            yield from _resize(np.stack(batch), px)
            batch = []
        if crop.shape[:2] == (px, px):
            yield crop
        elif 2 * crop.nbytes > _BATCH_BYTES:
            yield from _resize(crop.reshape(1, *crop.shape), px)  # crop[None] hides from torch how it is laid out
        else:
            batch.append(crop.copy())
    if batch:
        yield from _resize(np.stack(batch), px)


def _resize(crops: np.ndarray, px: int) -> np.ndarray:
    """uint8 (n, h, w, 3) to uint8 (n, px, px, 3)."""
    planes = torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2)  # channels last: torch's fast way
    small = torch.nn.functional.interpolate(planes, size=(px, px), mode="bicubic", antialias=True)
    return small.permute(0, 2, 3, 1).contiguous().numpy()
