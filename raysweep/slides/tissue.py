"""Where the tissue is on a thumbnail, and how much of it each patch holds."""

import numpy as np

# HSV saturation, of 255. Glass has at most a few per cent and stained tissue ten to seventy, so a threshold outside
# these bounds means that the thumbnail holds only one of the two; then the bound decides.
_LEAST_THRESHOLD, _MOST_THRESHOLD = 13, 51
_LEAST_VALUE = 38  # darker pixels (padding, pen, a fluorescence background) have no meaningful saturation


def tissue_mask(thumbnail: np.ndarray) -> np.ndarray:
    """Bool (h, w): which pixels of a uint8 (h, w, 3) RGB thumbnail are stained tissue.

    A pixel is tissue when it is not dark and its HSV saturation is above Otsu's threshold, held within bounds.
    """
    value = thumbnail.max(axis=2)
    spread = (value - thumbnail.min(axis=2)).astype(np.uint16)
    saturation = (spread * 255 // np.maximum(value, 1)).astype(np.uint8)
    bright = value >= _LEAST_VALUE
    if not bright.any():
        return bright
    threshold = otsu(np.bincount(saturation[bright], minlength=256))
    return bright & (saturation > min(max(threshold, _LEAST_THRESHOLD), _MOST_THRESHOLD))


def otsu(histogram: np.ndarray) -> int:
    """The threshold t of a histogram (n,) that best separates values <= t from values > t.

    It maximises the variance between the two classes (Otsu, IEEE Trans. Syst. Man Cybern. 9(1), 1979, eq. 18).
    """
    weight = np.cumsum(histogram, dtype=np.float64)
    moment = np.cumsum(histogram * np.arange(len(histogram)), dtype=np.float64)
    above = weight[-1] - weight
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (moment[-1] * weight / weight[-1] - moment) ** 2 / (weight * above)
    return int(np.argmax(np.nan_to_num(between, nan=0.0, posinf=0.0)))


def tissue_fractions(mask: np.ndarray, x_edges: np.ndarray, y_edges: np.ndarray) -> np.ndarray:
    """Fraction of tissue in each cell of a grid, float32 (rows, columns).

    Args:
        mask: bool (h, w).
        x_edges: increasing edges of the columns in pixels of the mask, float (columns + 1,).
        y_edges: the same of the rows.

    A cell is measured over the mask's pixels nearest to it, at least one.
    """
    height, width = mask.shape
    sums = np.zeros((height + 1, width + 1), np.int64)
    np.cumsum(np.cumsum(mask, axis=0, dtype=np.int64), axis=1, out=sums[1:, 1:])
    left, right = _pixels(x_edges, width)
    top, bottom = (edges[:, None] for edges in _pixels(y_edges, height))
    inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return (inside / ((bottom - top) * (right - left))).astype(np.float32)


def _pixels(edges: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    low = np.clip(np.rint(edges[:-1]).astype(int), 0, size - 1)
    return low, np.clip(np.rint(edges[1:]).astype(int), low + 1, size)
