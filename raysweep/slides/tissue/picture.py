"""A thumbnail in the terms in which tissue and artefacts are told."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from PIL import Image
from scipy.ndimage import uniform_filter

from raysweep.slides.tissue.stains import Stain


@dataclass(frozen=True)
class Picture:
    """A thumbnail with its scale and stain.

    Attributes:
        rgb: uint8 (h, w, 3).
        um_per_px: along x and y.
        stain: what the stain allows.
        dark_background: whether light means signal (fluorescence) and not glass.
        pen: bool (h, w), where pen marks were found; nowhere when they are not looked for.
    """

    rgb: np.ndarray
    um_per_px: tuple[float, float]
    stain: Stain
    dark_background: bool = False
    pen: np.ndarray = field(default_factory=lambda: np.zeros((1, 1), bool))

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.rgb.shape[0], self.rgb.shape[1]

    @property
    def um(self) -> float:
        """um per pixel, the geometric mean of the two axes."""
        return (self.um_per_px[0] * self.um_per_px[1]) ** 0.5

    @cached_property
    def value(self) -> np.ndarray:
        """HSV value, uint8 (h, w)."""
        return np.maximum(np.maximum(self.rgb[..., 0], self.rgb[..., 1]), self.rgb[..., 2])  # a tenth of max(axis=2)

    @cached_property
    def least(self) -> np.ndarray:
        """The least of the three channels, uint8 (h, w)."""
        return np.minimum(np.minimum(self.rgb[..., 0], self.rgb[..., 1]), self.rgb[..., 2])

    @cached_property
    def white(self) -> np.ndarray:
        """Bool (h, w): where the slide has no pixels, or the scanner saw nothing. JPEG may make 254 of 255."""
        return self.least >= 254

    @cached_property
    def saturation(self) -> np.ndarray:
        """HSV saturation, uint8 (h, w)."""
        spread = (self.value - self.least).astype(np.uint16)
        return (spread * 255 // np.maximum(self.value, 1)).astype(np.uint8)

    @cached_property
    def hue(self) -> np.ndarray:
        """HSV hue in degrees from 0 to 360, float32 (h, w); 0 where a pixel has none."""
        red, green, blue = self.rgb.astype(np.float32).transpose(2, 0, 1)
        value = self.value
        spread = np.maximum(value - self.least, 1).astype(np.float32)
        sixth = np.where(
            value == red,
            ((green - blue) / spread) % 6,
            np.where(value == green, (blue - red) / spread + 2, (red - green) / spread + 4),
        )
        return sixth * 60

    def has_hue(self, low: float, high: float) -> np.ndarray:
        """Bool (h, w): hue from `low` on clockwise to `high`, degrees."""
        return (self.hue - low) % 360 <= ((high - low) % 360 or 360)

    def smooth(self, um: float) -> "Picture":
        """The picture with each pixel the mean of a square of about `um` around it."""
        sizes = [2 * round((um / edge - 1) / 2) + 1 for edge in self.um_per_px[::-1]]
        if max(sizes) <= 1:
            return self
        rgb = np.stack([uniform_filter(self.rgb[..., i], [max(1, n) for n in sizes]) for i in range(3)], axis=2)
        return replace(self, rgb=rgb)

    def coarse(self, um: float) -> "tuple[Picture, int]":
        """The picture with pixels of about `um`, each the mean of a square, and the square's edge in pixels."""
        factor = max(1, int(um / self.um))
        if factor == 1:
            return self, 1
        x, y = self.um_per_px
        rgb = np.asarray(Image.fromarray(self.rgb).reduce(factor))
        return Picture(rgb, (x * factor, y * factor), self.stain, self.dark_background), factor  # without the pen

    def fine(self, mask: np.ndarray, factor: int) -> np.ndarray:
        """A mask of the coarse picture at the size of this one."""
        return mask.repeat(factor, axis=0).repeat(factor, axis=1)[: self.shape[0], : self.shape[1]]
