"""Tissue by a threshold that each slide sets itself."""

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.filters import threshold_otsu

from raysweep.slides.tissue.picture import Picture

# HSV saturation, of 255. Glass has at most a few per cent, so a threshold below this means that there is only glass;
# one above the most that the stain allows tells dense tissue from pale.
_LEAST_THRESHOLD = 13
_LEAST_VALUE = 38  # darker pixels (padding, pen) have no meaningful saturation
_CELL_UM = 8.0  # between and inside cells there is glass to be seen; what counts is whether a place is stained

# Tinted glass is the palest of a slide, bright, and of one colour: few pixels are paler, few a little more coloured.
# None of the test data's crops of tissue looks like that; recoloured as other stains, 6 of 2,900 do.
_MOST_TINTED = 51  # of 255
_TINTED_VALUE = 230
_PEAK, _SHOULDER = 6, (8, 15)  # of the saturation, from the commonest one on either side
_MOST_PALER, _MOST_ON_SHOULDER = 0.03, 0.1  # of all pixels; of the height of the peak
_LEAST_TISSUE = 0.001  # of all pixels; without any, all of one pale colour may be anything

_SPREAD_UM = 20.0  # in fluorescence only nuclei shine; tissue is where they are this close to each other
_LEAST_LIGHT, _MOST_LIGHT = 8, 51  # of 255


def find(picture: Picture) -> np.ndarray:
    """Bool (h, w): which pixels are stained.

    A pixel is tissue when the mean colour of the 8 um around it is not dark and its HSV saturation is above Otsu's
    threshold, which is held within bounds and computed without pen marks. Where glass is tinted, the upper bound is
    raised by the tint and used as the threshold. On a dark background brightness decides, smoothed over the distance
    between nuclei.
    """
    if picture.dark_background:
        sigma = _SPREAD_UM / picture.um
        light = gaussian_filter(picture.value.astype(np.float32), sigma).round().astype(np.uint8)
        return light > _threshold(light, _LEAST_LIGHT, _MOST_LIGHT)
    smooth = picture.smooth(_CELL_UM)
    bright = smooth.value >= _LEAST_VALUE
    tint = _tint(smooth, bright & ~picture.pen & ~smooth.white)
    if tint:
        return bright & (smooth.saturation > picture.stain.saturation + tint)
    counted = smooth.saturation[bright & ~picture.pen]
    return bright & (smooth.saturation > _threshold(counted, _LEAST_THRESHOLD, picture.stain.saturation))


def _tint(picture: Picture, seen: np.ndarray) -> int:
    """How much more saturated than elsewhere the glass is, of 255; 0 unless it clearly shows beside something else."""
    counts = np.bincount(picture.saturation[seen], minlength=256)
    peak = int(np.argmax(counts[: _MOST_TINTED + 1]))
    if peak <= _LEAST_THRESHOLD:
        return 0
    total, (near, far) = counts.sum(), _SHOULDER
    glass_alone = counts[: peak - _PEAK].sum() <= _MOST_PALER * total
    apart = counts[peak + near : peak + far].mean() <= _MOST_ON_SHOULDER * counts[peak - 1 : peak + 2].mean()
    tissue = counts[peak + far :].sum() >= _LEAST_TISSUE * total
    bright = np.median(picture.value[seen & (picture.saturation == peak)]) >= _TINTED_VALUE
    return peak - _LEAST_THRESHOLD if glass_alone and apart and tissue and bright else 0


def _threshold(values: np.ndarray, least: int, most: int) -> int:
    """Otsu's threshold (IEEE Trans. Syst. Man Cybern. 9(1), 1979) within bounds: values above it are tissue."""
    counts = np.bincount(values.ravel(), minlength=256)
    if np.count_nonzero(counts) < 2:  # nothing to tell apart
        return least
    return min(max(int(threshold_otsu(hist=counts)), least), most)
