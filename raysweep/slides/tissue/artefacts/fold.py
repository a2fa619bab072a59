"""Folds: tissue that lies on itself."""

import numpy as np
from scipy.ndimage import gaussian_filter

from raysweep.slides.tissue.morphology import drop_small
from raysweep.slides.tissue.picture import Picture

_SMOOTH_UM = 16.0  # more than nuclei, less than a fold is wide
_FENCE = 1.75  # quartile ranges above the upper quartile; at 1.5 the horn of skin is taken for a fold at some scales
_DENSER = 1.5  # two layers absorb twice as much as one
_LEAST_UM2 = 2_500.0


def find(picture: Picture, tissue: np.ndarray) -> np.ndarray:
    """Bool (h, w): parts of `tissue`, bool (h, w), where it is darker and more saturated than the rest.

    The measure is HSV saturation minus value, which two layers raise on both counts (Bautista and Yagi, Detection of
    tissue folds in whole slide images, EMBC 2009; Kothari et al., J. Pathol. Inform. 4:22, 2013). A fold lies above
    the upper quartile of all tissue by 1.75 quartile ranges (little does where tissue is of many kinds), absorbs
    half as much again as the median, and covers 2,500 um2.
    """
    if not tissue.any():
        return tissue
    sigma = (_SMOOTH_UM / picture.um_per_px[1], _SMOOTH_UM / picture.um_per_px[0])
    weight = gaussian_filter(tissue.astype(np.float32), sigma)  # folds lie at borders, too: glass is ignored
    rgb = gaussian_filter(picture.rgb * tissue[..., None].astype(np.float32), (*sigma, 0))
    rgb /= np.maximum(weight, np.float32(1e-3))[..., None]
    value, least = rgb.max(axis=2), rgb.min(axis=2)
    measure = (value - least) / np.maximum(value, 1) - value / 255
    density = -np.log10(np.maximum(rgb, 1) / 255).mean(axis=2)
    low, high = np.quantile(measure[tissue], [0.25, 0.75])
    fold = (measure > high + _FENCE * (high - low)) & (density > _DENSER * np.median(density[tissue]))
    return drop_small(fold & tissue, picture.um_per_px, _LEAST_UM2)
