"""Grey that is darker than glass: what bends light away and is not stained."""

import numpy as np

from raysweep.slides.tissue.picture import Picture

_MOST_SATURATION = 38  # of 255; stained tissue has more, even where it is faint
_GLASS_VALUE = 180  # of 255, at least
_DARKER = 25


def grey_lines(picture: Picture) -> np.ndarray:
    """Bool (h, w): pixels without colour that are darker than the slide's glass by more than its noise."""
    pale = picture.saturation <= _MOST_SATURATION
    glass = picture.value[pale & (picture.value >= _GLASS_VALUE)]
    level = np.median(glass) if len(glass) else 255
    return pale & (picture.value < level - _DARKER)
