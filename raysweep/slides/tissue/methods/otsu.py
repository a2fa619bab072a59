"""Tissue by a threshold that each slide sets itself."""

import numpy as np
from scipy.ndimage import gaussian_filter

from raysweep.slides.tissue.picture import Picture

# HSV saturation, of 255. Glass has at most a few per cent, so a threshold below this means that there is only glass;
# one above the most that the stain allows tells dense tissue from pale.
_LEAST_THRESHOLD = 13
_LEAST_VALUE = 38  # darker pixels (padding, pen) have no meaningful saturation
_CELL_UM = 8.0  # between and inside cells there is glass to be seen; what counts is whether a place is stained

_SPREAD_UM = 20.0  # in fluorescence only nuclei shine; tissue is where they are this close to each other
_LEAST_LIGHT, _MOST_LIGHT = 8, 51  # of 255


def find(picture: Picture) -> np.ndarray:
    """Bool (h, w): which pixels are stained.

    A pixel is tissue when the mean colour of the 8 um around it is not dark and its HSV saturation is above Otsu's
    threshold, held within bounds, in which pen marks have no say. On a dark background it is the brightness that
    counts, smoothed over the distance of nuclei.
    """
    if picture.dark_background:
        sigma = _SPREAD_UM / picture.um
        light = gaussian_filter(picture.value.astype(np.float32), sigma).round().astype(np.uint8)
        return light > _threshold(light, _LEAST_LIGHT, _MOST_LIGHT)
    smooth = picture.smooth(_CELL_UM)
    bright = smooth.value >= _LEAST_VALUE
    counted = smooth.saturation[bright & ~picture.pen]
    return bright & (smooth.saturation > _threshold(counted, _LEAST_THRESHOLD, picture.stain.saturation))


def _threshold(values: np.ndarray, least: int, most: int) -> int:
    return min(max(otsu(np.bincount(values.ravel(), minlength=256)), least), most)


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
