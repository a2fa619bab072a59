"""An open slide: its size, its resolution and the pixels of any part of it."""

import math
from pathlib import Path
from types import TracebackType

import numpy as np
import openslide
from PIL import Image

from raysweep.errors import WorkError

_STRIP_PIXELS = 2**24  # read at a time for a thumbnail
_ISOTROPIC = 1.01


class Slide:
    """A whole-slide image. Rectangles are in the pixels of a level; level 0 is the largest.

    Attributes:
        size: (width, height) of level 0, pixels.
        level_sizes: (width, height) of each level.
        downsamples: level-0 pixels per pixel of each level; the first is 1.
        mpp_xy: um per level-0 pixel along x and y; both the geometric mean when they differ by 1 % or less.
        mpp: their geometric mean.
        mpp_source: `table` when `mpp` was given, else `metadata`.
    """

    def __init__(self, path: str | Path, mpp: float | None = None) -> None:
        """Open a slide; `mpp` overrides what the file says. Raises WorkError when it cannot be opened or has no mpp."""
        if not Path(path).is_file():
            raise WorkError(f"no such file: {path}")
        try:
            self._file = openslide.OpenSlide(str(path))
        except openslide.OpenSlideError as error:
            raise WorkError(f"not a slide that can be read ({error})") from error
        try:
            self.size: tuple[int, int] = self._file.dimensions
            self.level_sizes: list[tuple[int, int]] = list(self._file.level_dimensions)
            self.downsamples: list[float] = [float(d) for d in self._file.level_downsamples]
            self.mpp_xy = (mpp, mpp) if mpp is not None else self._metadata_mpp()
        except BaseException:
            self._file.close()
            raise
        self.mpp_source = "metadata" if mpp is None else "table"
        self.mpp = math.sqrt(self.mpp_xy[0] * self.mpp_xy[1])

    def _metadata_mpp(self) -> tuple[float, float]:
        found = []
        for name in (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y):
            try:
                found.append(float(self._file.properties.get(name, "")))
            except ValueError:
                found.append(math.nan)
        if not all(math.isfinite(value) and value > 0 for value in found):
            raise WorkError("no mpp: give one in the slide table's mpp column")
        x, y = found
        mean = math.sqrt(x * y)
        return (mean, mean) if max(x, y) / min(x, y) <= _ISOTROPIC else (x, y)

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Pixels of a rectangle, uint8 (height, width, 3) RGB; `x` and `y` are in pixels of `level`.

        Where the slide has no pixels (transparent, or outside) it is white. Raises WorkError when the file is damaged.
        """
        down = self.downsamples[level]
        try:
            image = self._file.read_region((round(x * down), round(y * down)), level, (width, height))
        except openslide.OpenSlideError as error:
            raise WorkError(f"pixels cannot be read ({error})") from error
        rgba = np.asarray(image)
        alpha = rgba[..., 3]
        if alpha.min() == 255:
            return np.asarray(image.convert("RGB"))  # a third of numpy's time
        cover = alpha[..., None].astype(np.uint16)
        return ((rgba[..., :3] * cover + 255 * (255 - cover) + 127) // 255).astype(np.uint8)

    def thumbnail(self, max_px: int) -> np.ndarray:
        """The whole slide, uint8 (h, w, 3), longest edge at most `max_px`; each pixel is the mean of what it covers.

        Read in strips of the nearest finer level: memory does not grow with the slide.
        """
        factor = max(1.0, max(self.size) / max_px)
        level = self._file.get_best_level_for_downsample(factor)
        width, height = (max(1, round(edge / factor)) for edge in self.size)
        source_width, source_height = self.level_sizes[level]
        rows = max(1, int(_STRIP_PIXELS / source_width * height / source_height))
        strips = []
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            y0, y1 = (round(edge * source_height / height) for edge in (top, bottom))
            strip = Image.fromarray(self.read(level, 0, y0, source_width, max(1, y1 - y0)))
            strips.append(np.asarray(strip.resize((width, bottom - top), Image.Resampling.BOX)))
        return np.concatenate(strips)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "Slide":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None):
        self.close()
