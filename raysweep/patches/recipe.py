"""What a random view of a patch may look like. Light: the drawing is in `views`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How one view is drawn. Probabilities and strengths of 0 switch a part off.

    px: edge of the view, pixels. scale: area of the crop as a fraction of the patch, drawn uniformly. stretch: the
    crop's sides differ by at most this ratio. turn: flips and quarter turns (tissue has no up). brightness,
    contrast, saturation: factors are drawn from 1 +- these. hue: turn of the colour circle, in +- this part of it.
    jitter, grey, blur, solarise: probabilities. blur_sigma: range of a blur's sigma in pixels of a 224 px view; other
    views take it in proportion. hed: each stain (haematoxylin, eosin and DAB) is scaled by a factor from 1 +- hed
    and shifted by +- hed (decadic optical density), in every view; for H&E.
    """

    px: int
    scale: tuple[float, float] = (1.0, 1.0)
    stretch: float = 1.0
    turn: bool = True
    jitter: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grey: float = 0.0
    blur: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarise: float = 0.0
    hed: float = 0.0

    @property
    def zoom(self) -> float:
        """Mean edge of the crop as a fraction of the patch's edge: a view's mpp is the patch's times zoom, resized."""
        low, high = self.scale
        return high**0.5 if low == high else 2 / 3 * (high**1.5 - low**1.5) / (high - low)
