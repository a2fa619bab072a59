"""All that OpenSlide opens."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import openslide
from PIL import Image, ImageCms

from raysweep.errors import WorkError
from raysweep.slides.readers.complete import check_complete
from raysweep.slides.readers.dicom_colours import ycbcr_levels
from raysweep.slides.readers.reader import NotMine

_RUN_PIXELS = 2**22  # read at once: neighbours in a row
_MOST_TILE_PIXELS = 2**27  # decoded at once: a small file can claim any size of its tiles
_FAR = 2048  # pixels that may be read in vain for an exact start
_EXACT = 1 / 512  # of a pixel: Cairo, which OpenSlide draws with, rounds to 1/256 and does not blend what is whole then
_CACHE_BYTES = 128 * 2**20  # of decoded tiles: what two rows of patches share


class OpenSlideReader:
    """A slide that OpenSlide opens: see `Reader`."""

    name = "openslide"
    orientation = 1  # what is to be turned does not come here
    strip_px: int | None = None

    def __init__(self, path: Path) -> None:
        """Raises NotMine when OpenSlide does not know the format and WorkError when the file is damaged."""
        check_complete(path)
        try:
            self._file = openslide.OpenSlide(str(path))
        except openslide.OpenSlideUnsupportedFormatError as error:
            raise NotMine("OpenSlide does not know this format") from error
        except openslide.OpenSlideError as error:
            raise WorkError(f"not a slide that can be read ({error})") from error
        _check_tiles(self._file.properties, self._file.level_count)
        self._file.set_cache(openslide.OpenSlideCache(_CACHE_BYTES))
        self._ycbcr = [False] * self._file.level_count  # levels that OpenSlide shows without making RGB of them
        properties = self._file.properties
        self.vendor = properties.get(openslide.PROPERTY_NAME_VENDOR, "")
        self.level_sizes: list[tuple[int, int]] = list(self._file.level_dimensions)
        self.mpp_xy = _mpp(properties)
        self.mpp_source = "tiff resolution" if self.vendor == "generic-tiff" else "metadata"
        self.icc = _icc(self._file)
        self.origin = (
            int(properties.get(openslide.PROPERTY_NAME_BOUNDS_X, 0)),
            int(properties.get(openslide.PROPERTY_NAME_BOUNDS_Y, 0)),
        )
        if self.vendor == "dicom":
            self._ycbcr = self._colours(path)

    def _colours(self, path: Path) -> list[bool]:
        try:
            return ycbcr_levels(path, self.level_sizes, self._read)
        except BaseException:
            self.close()
            raise

    def crops(self, level: int, boxes: np.ndarray) -> Iterator[np.ndarray]:
        for run in _runs(boxes):
            left, top, right, bottom = run[:, 0].min(), run[0, 1], run[:, 2].max(), run[0, 3]
            pixels = self._read(level, int(left), int(top), int(right - left), int(bottom - top))
            for x0, _, x1, _ in run:
                yield pixels[:, x0 - left : x1 - left]

    def _read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        down = self._file.level_downsamples[level]
        left, top = _exact_start(x, down), _exact_start(y, down)
        size = (width + x - left, height + y - top)
        try:
            image = self._file.read_region((round(left * down), round(top * down)), level, size)
        except openslide.OpenSlideError as error:
            raise WorkError(f"pixels cannot be read at level {level}, x {x}, y {y} ({error})") from error
        if size != (width, height):
            image = image.crop((x - left, y - top, *size))
        colours = image.convert("RGB")
        if self._ycbcr[level]:
            colours = Image.frombytes("YCbCr", colours.size, colours.tobytes()).convert("RGB")
        alpha = np.asarray(image)[..., 3]
        if alpha.min() == 255:
            return np.asarray(colours)
        cover = alpha[..., None].astype(np.uint16)
        return ((np.asarray(colours) * cover + 255 * (255 - cover) + 127) // 255).astype(np.uint8)

    def close(self) -> None:
        self._file.close()


def _icc(file: openslide.OpenSlide) -> bytes | None:
    try:
        profile = file.color_profile
    except ImageCms.PyCMSError:  # a broken one, which only those who apply it have to complain of
        return b""
    return None if profile is None else profile.tobytes()


def _exact_start(start: int, down: float) -> int:
    """The last pixel of a level, at most `start`, that OpenSlide can begin to read at.

    It wants whole pixels of level 0. Where those lie between pixels of the level it blends neighbours, and what it
    gives for a pixel would depend on where reading began.
    """
    if start <= 0 or down == round(down):
        return start
    before = np.arange(max(0, start - _FAR), start + 1)
    off = np.abs(np.rint(before * down) / down - before)
    exact = np.flatnonzero(off < _EXACT)
    return int(before[exact[-1] if len(exact) else np.argmin(off)])


def _runs(boxes: np.ndarray) -> Iterator[np.ndarray]:
    """Boxes in order, cut into runs of neighbours in one row that are worth one read."""
    start = 0
    for index in range(1, len(boxes) + 1):
        if index < len(boxes):
            first, last, box = boxes[start], boxes[index - 1], boxes[index]
            same_row = box[1] == first[1] and box[3] == first[3]
            area = (box[2] - first[0]) * (box[3] - box[1])
            if same_row and last[0] <= box[0] <= last[2] <= box[2] and area <= _RUN_PIXELS:
                continue
        yield boxes[start:index]
        start = index


def _check_tiles(properties: Mapping[str, str], levels: int) -> None:
    for level in range(levels):
        width, height = (
            int(properties.get(f"openslide.level[{level}].tile-{edge}", 0)) for edge in ("width", "height")
        )
        if width * height > _MOST_TILE_PIXELS:
            raise WorkError(f"tiles of {width} x {height} pixels at level {level}: too large to be read")


def _mpp(properties: Mapping[str, str]) -> tuple[float, float] | None:
    found = []
    for name in (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y):
        try:
            found.append(float(properties.get(name, "")))
        except ValueError:
            return None
    return (found[0], found[1]) if all(math.isfinite(value) and value > 0 for value in found) else None
