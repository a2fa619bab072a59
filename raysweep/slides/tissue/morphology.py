"""Arithmetic of tissue masks: mending them, and what fraction of a rectangle they cover."""

import numpy as np
from scipy.ndimage import distance_transform_edt, label

_TOUCHING = np.ones((3, 3), bool)  # pixels of a region may touch at a corner, those of a hole may not


def drop_small(mask: np.ndarray, um_per_px: tuple[float, float], least_um2: float) -> np.ndarray:
    """The mask, bool (h, w), without connected regions smaller than `least_um2`."""
    regions, n = label(mask, _TOUCHING)
    large = np.bincount(regions.ravel(), minlength=n + 1) * um_per_px[0] * um_per_px[1] >= least_um2
    large[0] = False
    return large[regions]


def fill_holes(mask: np.ndarray, um_per_px: tuple[float, float], most_um2: float) -> np.ndarray:
    """The mask with the holes of at most `most_um2`; what touches the border of the picture is no hole."""
    outside = np.pad(~mask, 1, constant_values=True)  # joins all that touches the border into one large region
    holes, n = label(outside)
    small = np.bincount(holes.ravel(), minlength=n + 1) * um_per_px[0] * um_per_px[1] <= most_um2
    small[[0, holes[0, 0]]] = False
    return mask | small[holes][1:-1, 1:-1]


def grow(mask: np.ndarray, um_per_px: tuple[float, float], um: float) -> np.ndarray:
    """The mask and all that is at most `um` from it."""
    return mask | (distance_transform_edt(~mask, sampling=um_per_px[::-1]) <= um) if mask.any() else mask


def close_gaps(mask: np.ndarray, um_per_px: tuple[float, float], um: float) -> np.ndarray:
    """The mask with what lies between pixels of it that are at most `um` apart (a morphological closing)."""
    if not mask.any():
        return mask
    rows, columns = (int(np.ceil(um / edge)) for edge in um_per_px[::-1])
    wide = np.pad(mask, ((rows, rows), (columns, columns)))  # or the border of the picture would count as a part
    closed = ~grow(~grow(wide, um_per_px, um / 2), um_per_px, um / 2)
    return mask | closed[rows : rows + mask.shape[0], columns : columns + mask.shape[1]]


def keep_wide(mask: np.ndarray, um_per_px: tuple[float, float], um: float) -> np.ndarray:
    """The parts of a mask in which a disc of diameter `um` has room (a morphological opening); it may go on outside."""
    if mask.all() or not mask.any():
        return mask
    inner = distance_transform_edt(mask, sampling=um_per_px[::-1]) > um / 2
    return mask & grow(inner, um_per_px, um / 2)


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
