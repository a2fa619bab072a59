"""Tissue by fixed bounds on hue and saturation."""

import numpy as np

from raysweep.slides.tissue.picture import Picture

# Of 255: 7 %, below which PatchCamelyon takes a patch for background (Veeling et al., MICCAI 2018).
_LEAST_SATURATION = 18
_LEAST_VALUE = 38
_CELL_UM = 8.0  # between and inside cells there is glass to be seen; what counts is whether a place is stained


def find(picture: Picture) -> np.ndarray:
    """Bool (h, w): pixels of a hue that the stain has, neither pale nor dark, in the mean of the 8 um around each.

    The bounds are the same for every slide.
    """
    picture = picture.smooth(_CELL_UM)
    stained = (picture.saturation >= _LEAST_SATURATION) & (picture.value >= _LEAST_VALUE)
    return stained & np.any([picture.has_hue(low, high) for low, high in picture.stain.hues], axis=0)
