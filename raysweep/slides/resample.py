"""Crops of a few sizes to patches of one size: the one resize."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

_BATCH_BYTES = 2**21  # small crops share a call, which is up to three times as fast; large ones need not


def resample(crops: Iterable[np.ndarray], px: int) -> Iterator[np.ndarray]:
    """Each uint8 (h, w, 3) crop as a patch, in order, uint8 (px, px, 3), in one antialiased resize.

    A crop of that size is the patch itself.
    """
    waiting: list[np.ndarray] = []
    for crop in crops:
        if waiting and (crop.shape != waiting[0].shape or (len(waiting) + 1) * crop.nbytes > _BATCH_BYTES):
            yield from _resized(waiting, px)
            waiting = []
        if crop.shape[:2] == (px, px):
            yield crop
        else:
            waiting.append(crop)
    if waiting:
        yield from _resized(waiting, px)


def _resized(crops: Sequence[np.ndarray], px: int) -> np.ndarray:
    """All in one call, uint8 (n, px, px, 3)."""
    batch = crops[0].reshape(1, *crops[0].shape) if len(crops) == 1 else np.stack(crops)
    batch = np.require(batch, requirements=["C", "W"])  # torch warns of pixels that it could not write to
    planes = torch.from_numpy(batch).permute(0, 3, 1, 2)  # channels last: torch's fast way
    small = torch.nn.functional.interpolate(planes, size=(px, px), mode="bicubic", antialias=True)
    return small.permute(0, 2, 3, 1).contiguous().numpy()
