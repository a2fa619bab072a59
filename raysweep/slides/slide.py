"""An open slide: its size, its resolution and the pixels of any part of it."""

import math
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
from PIL import Image

from raysweep.errors import WorkError
from raysweep.slides.dicom import is_dicom_name
from raysweep.slides.readers.by_openslide import OpenSlideReader
from raysweep.slides.readers.jpeg_tiff import JpegTiffReader
from raysweep.slides.readers.picture import PictureReader
from raysweep.slides.readers.reader import NotMine, Reader
from raysweep.slides.readers.tiff import TiffReader
from raysweep.slides.readers.turned import Turned

_READERS: dict[str, tuple[type[Reader], ...]] = {  # which are tried, in order
    "auto": (JpegTiffReader, TiffReader, OpenSlideReader, PictureReader),
    "openslide": (TiffReader, OpenSlideReader, PictureReader),  # of a TIFF that OpenSlide sees wrongly, the former
}
_STRIP_PIXELS = 2**24  # read at a time for a thumbnail
_MOST_EDGE = 2**22  # pixels: a file that claims more is damaged or means harm
_LEAST_MPP, _MOST_MPP = 0.02, 32.0  # um: printers' resolutions (72 to 600 per inch) lie above


class Slide:
    """A whole-slide image. Rectangles are in the pixels of a level; level 0 is the largest.

    Attributes:
        reader: what reads the pixels.
        size: (width, height) of level 0, pixels.
        level_sizes: (width, height) of each level.
        downsamples: level-0 pixels per pixel of each level along x and y; the first is (1, 1).
        mpp_xy: um per level-0 pixel along x and y.
        mpp: their geometric mean.
        mpp_source: `table` when `mpp` was given, else `metadata` or `tiff resolution`, or `study` where the file says
            nothing and `fallback_mpp` was given.
    """

    def __init__(
        self,
        path: str | Path,
        mpp: float | None = None,
        reader: Literal["auto", "openslide"] = "auto",
        *,
        fallback_mpp: float | None = None,
        opened: Reader | None = None,
    ) -> None:
        """Open a slide; `mpp` overrides what the file says, `fallback_mpp` counts where it says nothing.

        `opened` reads it in place of what `path` and `reader` would find, and is closed with it.
        Raises WorkError when it cannot be opened or has no mpp.
        """
        self.reader = _upright(opened) if opened else _open(Path(path), reader)
        try:
            self.level_sizes = self.reader.level_sizes
            self.downsamples = [_downsample(self.level_sizes[0], size) for size in self.level_sizes]
            self.size = self.level_sizes[0]
            if max(self.size) > _MOST_EDGE:
                raise WorkError(f"claims {self.size[0]} x {self.size[1]} pixels: no slide is that large")
            self.mpp_xy, self.mpp_source = _mpp(self.reader, mpp, fallback_mpp)
        except BaseException:
            self.reader.close()
            raise
        self.mpp = math.sqrt(self.mpp_xy[0] * self.mpp_xy[1])

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Pixels of a rectangle, uint8 (height, width, 3) RGB; `x` and `y` are in pixels of `level`.

        Where the slide has no pixels (transparent, or outside) it is white. Raises WorkError when the file is damaged.
        """
        return next(self.reader.crops(level, np.array([[x, y, x + width, y + height]])))

    def crops(self, level: int, boxes: np.ndarray) -> Iterator[np.ndarray]:
        """The same for many rectangles (see `Reader.crops`): what they share is decoded once."""
        return self.reader.crops(level, boxes)

    def thumbnail(self, max_px: int) -> np.ndarray:
        """The whole slide, uint8 (h, w, 3), longest edge at most `max_px`; each pixel is the mean of what it covers.

        Read in strips of the nearest finer level: memory does not grow with the slide.
        """
        factor = max(1.0, max(self.size) / max_px)
        level = max(
            (i for i, down in enumerate(self.downsamples) if max(down) <= factor),
            key=self.downsamples.__getitem__,
            default=0,
        )
        width, height = (max(1, round(edge / factor)) for edge in self.size)
        source_width, source_height = self.level_sizes[level]
        rows = max(1, int(_STRIP_PIXELS / source_width * height / source_height))
        tops = range(0, height, rows)
        edges = [round(min(top, height) * source_height / height) for top in (*tops, height)]
        boxes = [(0, y0, source_width, max(y1, y0 + 1)) for y0, y1 in pairwise(edges)]
        strips = []
        for top, strip in zip(tops, self.crops(level, np.array(boxes)), strict=True):
            size = (width, min(top + rows, height) - top)
            strips.append(np.asarray(Image.fromarray(strip).resize(size, Image.Resampling.BOX)))
        return np.concatenate(strips)

    def close(self) -> None:
        self.reader.close()

    def __enter__(self) -> "Slide":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None):
        self.close()


def _open(path: Path, reader: str) -> Reader:
    if not path.exists():
        raise WorkError(f"no such file: {path}")
    if path.is_dir():  # of DICOM
        path = next((file for file in sorted(path.iterdir()) if is_dicom_name(file.name)), path)
    if not path.is_file():
        raise WorkError(f"no file, nor a folder of DICOM: {path}")  # a pipe would be waited for
    for kind in _READERS[reader]:
        with suppress(NotMine):
            return _upright(kind(path))
    raise WorkError("not a slide or picture that can be read: cut off, or of an unknown format")


def _upright(opened: Reader) -> Reader:
    if opened.orientation > 4:  # viewers of slides do not apply it: annotations made in them would lie elsewhere
        opened.close()
        raise WorkError(
            f"orientation {opened.orientation} (TIFF tag 274) turns the slide by a quarter, so that width and "
            "height change places; save it upright"
        )
    return opened if opened.orientation == 1 else Turned(opened)


def _downsample(full: tuple[int, int], level: tuple[int, int]) -> tuple[float, float]:
    """Level-0 pixels per pixel of a level along x and y.

    A level leaves out, or fills up, its last pixel. So where a whole number explains its size, that is the downsample:
    the bare ratio would be off by up to a pixel of the level at the far end, and by more with the mean of both axes.
    """
    x, y = (_whole(a, b) for a, b in zip(full, level, strict=True))
    return x, y


def _whole(full: int, level: int) -> float:
    whole = max(1, round(full / level))
    return float(whole) if full // whole <= level <= -(-full // whole) else full / level


def _mpp(reader: Reader, given: float | None, fallback: float | None) -> tuple[tuple[float, float], str]:
    """um per pixel along x and y, and where it stands. A printer's resolution says nothing."""
    if given is not None:
        return (given, given), "table"
    found = reader.mpp_xy
    if found is not None and all(_LEAST_MPP <= value <= _MOST_MPP for value in found):
        return found, reader.mpp_source
    if fallback is not None:
        return (fallback, fallback), "study"
    if found is None:
        raise WorkError("no mpp: give one in the slide table's mpp column")
    x, y = found
    raise WorkError(f"no mpp: the file says {x:.4g} x {y:.4g} um per pixel; give the true one in the slide table")
