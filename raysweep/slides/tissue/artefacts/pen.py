"""Marks of a pen."""

import numpy as np

from raysweep.slides.tissue.morphology import close_gaps, grow, keep_wide
from raysweep.slides.tissue.picture import Picture

_STROKE_UM = 100.0  # a felt pen draws lines of 300 um and more; what is narrower than this is no stroke
_GAP_UM = 40.0  # tissue below shows through
_RIM_UM, _RIM_PX = 30.0, 1.5  # its edge fades


def find(picture: Picture) -> np.ndarray:
    """Bool (h, w): pixels of strokes in the colours that the stain cannot have.

    A colour is a range of HSV hue and a least saturation; a stroke is that colour over at least 100 um in width.
    Meant for pixels of about 16 um, where nuclei are no colour of their own any more.
    """
    marked = np.zeros(picture.shape, bool)
    for colour in picture.stain.pens:
        inked = close_gaps(_COLOURS[colour](picture), picture.um_per_px, _GAP_UM)
        marked |= keep_wide(inked, picture.um_per_px, _STROKE_UM)
    return grow(marked, picture.um_per_px, max(_RIM_UM, _RIM_PX * picture.um))


def _black(picture: Picture) -> np.ndarray:
    """Dark, nearly without colour and not short of green, which pigment and every stain of nuclei absorb."""
    neutral = picture.value - picture.least < 30
    return (picture.value < 80) & neutral & (picture.rgb[..., 1] >= 0.8 * picture.value)


def _blue(picture: Picture) -> np.ndarray:
    """More green than red, or purer than haematoxylin gets."""
    sky = picture.has_hue(195, 236) & (picture.saturation > 125)
    ink = picture.has_hue(195, 250) & (picture.saturation > 190)
    return (sky | ink) & (picture.value > 50)


def _green(picture: Picture) -> np.ndarray:
    return picture.has_hue(75, 180) & (picture.saturation > 50) & (picture.value > 38)


def _red(picture: Picture) -> np.ndarray:
    """Less blue than any eosin leaves, and purer than blood."""
    return picture.has_hue(353, 20) & (picture.saturation > 180) & (picture.value > 100)


_COLOURS = {"black": _black, "blue": _blue, "green": _green, "red": _red}
