"""How much of each rectangle a mask covers."""

import numpy as np


def fractions(mask: np.ndarray, rects: np.ndarray) -> np.ndarray:
    """The covered fraction of rectangles of any size and place, float32 (n,).

    Args:
        mask: bool (h, w).
        rects: left, top, right and bottom edges in pixels of the mask, real numbers (n, 4).

    A rectangle is measured over the mask's pixels nearest to it, at least one; all at once from a summed-area table
    (Crow, SIGGRAPH 1984).
    """
    height, width = mask.shape
    sums = np.zeros((height + 1, width + 1), np.int64)
    np.cumsum(np.cumsum(mask, axis=0, dtype=np.int64), axis=1, out=sums[1:, 1:])
    left, right = _pixels(rects[:, 0], rects[:, 2], width)
    top, bottom = _pixels(rects[:, 1], rects[:, 3], height)
    inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return (inside / ((bottom - top) * (right - left))).astype(np.float32)


def _pixels(low: np.ndarray, high: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    first = np.clip(np.rint(low).astype(np.int64), 0, size - 1)
    return first, np.clip(np.rint(high).astype(np.int64), first + 1, size)
