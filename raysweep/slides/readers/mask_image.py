"""The pixels of a mask slide."""

import math
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from raysweep.errors import WorkError, reason_of
from raysweep.patches.codec import FORMATS
from raysweep.slides.readers.claimed import claimed_pixels
from raysweep.slides.readers.lossy import lossy_kind
from raysweep.slides.readers.open_tiff import all_pages, open_tiff
from raysweep.slides.readers.turned import TURNS, orientation_of

_CHANNELS = {"red": 0, "green": 1, "blue": 2}
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEGS = (6, 7, 34892)  # TIFF's compressions
_MODES = ("1", "L", "LA", "P", "PA", "I", "I;16", "I;16B", "F", "RGB", "RGBA", "RGBX")  # Pillow's
_WHITE_IS_ZERO, _PHOTOMETRICS = 0, (0, 1, 2, 3, 4)  # white as 0, black as 0, RGB, palette, a page's transparency
_SMALLER = 1  # bit of NewSubfileType
_MOST_PIXELS = 2**27  # of an image that can only be read whole, or of one piece of a TIFF
_CACHE_BYTES = 64 * 2**20  # of decoded pieces
_ASPECT = 0.01  # sides may disagree by this fraction beyond the rounding of the mask's size


class MaskSlide:
    """An image whose pixels are integers with a meaning, of the same field as a slide and of any resolution.

    Opened at the first use. Its scale is that of its size to the slide's, each axis for itself; resolution tags are
    not looked at. Of a pyramid the finest level is read. Of a TIFF only the tiles or strips that are asked for are
    decoded and 64 MiB of them kept; other images are read whole, up to 2**27 pixels.
    """

    def __init__(self, path: str | Path, slide_size: tuple[int, int], channel: str = "red") -> None:
        """`slide_size` is (width, height) in level-0 pixels; `channel` is red, green or blue."""
        self.path = Path(path)
        self._slide_size = slide_size
        self._channel = _CHANNELS[channel]
        self._pixels: _Tiff | _Whole | _TurnedTiff | None = None

    def __enter__(self) -> "MaskSlide":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back; it is opened again when needed."""
        if self._pixels is not None:
            self._pixels.close()
            self._pixels = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of its finest level, pixels. Raises WorkError as `values` does."""
        return self._open().size

    @property
    def colours(self) -> tuple[str, ...]:
        """The channels that it has, as the constructor calls them: red alone where it is grey."""
        return tuple(_CHANNELS) if self._open().samples >= len(_CHANNELS) else ("red",)

    def values(self, rect: np.ndarray, width_px: int, height_px: int) -> np.ndarray:
        """The values at the pixel centres of a patch, unsigned integer (height_px, width_px), by nearest neighbour.

        Args:
            rect: left, top, right and bottom of the patch in level-0 pixels, float (4,), inside the slide.
            width_px, height_px: how many pixels the patch has.

        Raises WorkError when the mask cannot be read, is lossy, is no integer image, or has not the slide's shape.
        """
        pixels = self._open()
        columns, rows = (
            _nearest(float(rect[axis]), float(rect[axis + 2]), n, pixels.size[axis], self._slide_size[axis])
            for axis, n in ((0, width_px), (1, height_px))
        )
        try:
            return pixels.at(rows, columns)
        except WorkError:
            raise
        except Exception as error:  # decoders raise anything
            raise WorkError(f"mask {self.path}: cannot be decoded ({reason_of(error)})") from error

    def _open(self) -> "_Tiff | _Whole | _TurnedTiff":
        if self._pixels is None:
            try:
                with open(self.path, "rb") as file:
                    magic = file.read(4)
                kind = _Tiff if magic in _TIFF_MAGIC else _Whole
                pixels: _Tiff | _Whole | _TurnedTiff = kind(self.path, self._channel)
                if isinstance(pixels, _Tiff) and pixels.orientation != 1:
                    pixels = _TurnedTiff(pixels)
            except WorkError:
                raise
            except Exception as error:  # what is no image raises anything
                raise WorkError(f"mask {self.path}: cannot be read ({reason_of(error)})") from error
            try:
                _check_shape(self.path, pixels.size, self._slide_size)
            except WorkError:
                pixels.close()
                raise
            self._pixels = pixels
        return self._pixels


def _nearest(start: float, end: float, n: int, mask_size: int, slide_size: int) -> np.ndarray:
    """The mask's pixel under each of n pixel centres; where one falls between two pixels, always the later one."""
    centers = start + (np.arange(n) + 0.5) * ((end - start) / n)
    return np.clip(np.floor(centers * mask_size / slide_size + 1e-6).astype(np.int64), 0, mask_size - 1)


def _check_shape(path: Path, mask: tuple[int, int], slide: tuple[int, int]) -> None:
    """A mask is smaller than the slide by one factor, then rounded to whole pixels."""
    low, high = ([(mask[axis] + d) / slide[axis] for axis in (0, 1)] for d in (-1, 1))
    if max(low) > min(high) * (1 + _ASPECT):
        raise WorkError(
            f"mask {path}: is at the wrong scale: {mask[0]} x {mask[1]} pixels have not the shape of the slide's "
            f"{slide[0]} x {slide[1]}"
        )


def _check_kind(path: Path, dtype: np.dtype | None, samples: int, channel: int) -> int:
    """The sample that holds the values. Raises WorkError where there is none, or no integers."""
    if dtype is None or dtype.kind not in "bu":
        raise WorkError(f"mask {path}: its pixels are {dtype}, not unsigned integers; write it with 8 or 16 bits")
    if channel and channel >= samples:
        raise WorkError(f"mask {path}: has {samples} channel(s) and not that of labels.channel")
    return channel


def _check_lossless(path: Path, data: bytes) -> None:
    """`data` is its file or a piece of it, as compressed."""
    kind = lossy_kind(data)
    if kind:
        raise WorkError(
            f"mask {path}: is compressed by {kind}, which turns values into their neighbours unnoticed; "
            "write it without loss"
        )


class _Whole:
    """An image that is decoded at once."""

    def __init__(self, path: Path, channel: int) -> None:
        with Image.open(path, formats=FORMATS) as image:
            if image.format in ("JPEG", "MPO", "WEBP", "JPEG2000"):
                _check_lossless(path, path.read_bytes())
            if image.mode not in _MODES:
                raise WorkError(f"mask {path}: its colours are {image.mode}; write its values as greys")
            if image.width * image.height > _MOST_PIXELS:
                raise WorkError(
                    f"mask {path}: {image.width} x {image.height} pixels are too many to be read whole; "
                    "write it as a tiled TIFF"
                )
            ImageOps.exif_transpose(image, in_place=True)
            pixels = np.asarray(image)
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        self.samples = pixels.shape[2]
        if pixels.dtype == np.int32:  # Pillow's 32-bit integers, also those of 16-bit PNGs in some versions
            pixels = pixels.astype(np.uint32)
        self._pixels = np.ascontiguousarray(pixels[..., _check_kind(path, pixels.dtype, pixels.shape[2], channel)])
        if self._pixels.dtype == bool:
            self._pixels = self._pixels.astype(np.uint8)
        self.size = self._pixels.shape[1], self._pixels.shape[0]

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return self._pixels[rows][:, columns]

    def close(self) -> None:
        pass


class _Tiff:
    """The largest picture of a TIFF, decoded by tiles or strips."""

    def __init__(self, path: Path, channel: int) -> None:
        self._path = path
        self._file = open_tiff(path)
        try:
            self._look(channel)
        except BaseException:
            self._file.close()
            raise

    def _look(self, channel: int) -> None:
        pages = all_pages(self._file.pages)
        page = self._page = max(pages, key=lambda page: page.imagewidth * page.imagelength)
        if int(page.compression) in _JPEGS:
            _check_lossless(self._path, b"\xff\xd8\xff")
        alike = [other for other in pages if other.shaped[-3:] == page.shaped[-3:] and not other.subfiletype & _SMALLER]
        if len(alike) > 1:
            raise WorkError(
                f"mask {self._path}: holds {len(alike)} images of {page.imagewidth} x {page.imagelength} pixels, and "
                "which one is meant is not clear; keep one"
            )
        self._check_colours(page)
        self.orientation = orientation_of(page)
        self.samples = page.samplesperpixel
        self._sample = _check_kind(self._path, page.dtype, self.samples, channel)
        self.size = page.imagewidth, page.imagelength
        if page.is_tiled:
            self._piece = page.tilelength, page.tilewidth
        else:
            self._piece = min(page.rowsperstrip, page.imagelength), page.imagewidth
        if math.prod(self._piece) > _MOST_PIXELS:
            raise WorkError(f"mask {self._path}: its strips are too large; write it as a tiled TIFF")
        self._across = -(-page.imagewidth // self._piece[1])
        self._separate = int(page.planarconfig) == 2 and page.samplesperpixel > 1
        self._dtype = np.dtype(np.uint8) if page.dtype == bool else np.dtype(page.dtype).newbyteorder("=")
        self._cache: OrderedDict[int, np.ndarray] = OrderedDict()
        self._cached = 0

    def _check_colours(self, page: Any) -> None:
        photometric = int(page.photometric)
        if photometric not in _PHOTOMETRICS:
            raise WorkError(f"mask {self._path}: its colours are {page.photometric!r}; write its values as greys")
        inverted = photometric == _WHITE_IS_ZERO
        self._inverted = inverted and not page.software.startswith("tifffile")  # which writes and reads bits like that
        if inverted and page.bitspersample > 1:
            raise WorkError(
                f"mask {self._path}: has 0 for white (photometric interpretation MINISWHITE), so that its values are "
                "not those that viewers show; write it with 0 for black"
            )

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """The pixels of some rows and columns, both in increasing order."""
        out = np.empty((len(rows), len(columns)), self._dtype)
        height, width = self._piece
        for down, row_part in _runs(rows // height):
            for across, column_part in _runs(columns // width):
                piece = self._decoded(down * self._across + across)
                part = piece[_slice(rows[row_part] - down * height)]
                out[row_part, column_part] = part[:, _slice(columns[column_part] - across * width)]
        return out

    def close(self) -> None:
        self._file.close()
        self._cache.clear()

    def _decoded(self, index: int) -> np.ndarray:
        """The values of a tile or strip, (h, w)."""
        piece = self._cache.get(index)
        if piece is None:
            piece = self._decode(index)
            self._cache[index] = piece
            self._cached += piece.nbytes
            while self._cached > _CACHE_BYTES and len(self._cache) > 1:
                self._cached -= self._cache.popitem(last=False)[1].nbytes
        else:
            self._cache.move_to_end(index)
        return piece

    def _decode(self, index: int) -> np.ndarray:
        page, sample = self._page, self._sample
        if self._separate:
            index += sample * (len(page.dataoffsets) // page.samplesperpixel)
            sample = 0
        n_bytes = page.databytecounts[index]
        if n_bytes == 0:  # never written: all zero, as TIFF libraries have it
            return np.zeros(self._piece, self._dtype)
        file = self._file.filehandle
        file.seek(page.dataoffsets[index])
        data = file.read(n_bytes)
        if len(data) < n_bytes:
            raise WorkError(f"mask {self._path}: is cut off: piece {index} of {len(page.dataoffsets)} is incomplete")
        if claimed_pixels(data, int(page.compression)) > _MOST_PIXELS:
            raise WorkError(f"mask {self._path}: piece {index} claims to be far larger than it is")
        _check_lossless(self._path, data)
        pixels: Any = page.decode(data, index, jpegtables=page.jpegtables)[0]
        values = np.ascontiguousarray(pixels[0, :, :, sample]).astype(self._dtype, copy=False)
        return 1 - values if self._inverted else values


class _TurnedTiff:
    """A TIFF as its orientation tag wants it."""

    def __init__(self, stored: _Tiff) -> None:
        self._stored, self.samples = stored, stored.samples
        self._swap, self._back_x, self._back_y = TURNS[stored.orientation]
        self.size = stored.size[::-1] if self._swap else stored.size

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        if self._back_y:
            rows = (self.size[1] - 1 - rows)[::-1]
        if self._back_x:
            columns = (self.size[0] - 1 - columns)[::-1]
        found = self._stored.at(columns, rows).T if self._swap else self._stored.at(rows, columns)
        return found[:: -1 if self._back_y else 1, :: -1 if self._back_x else 1]

    def close(self) -> None:
        self._stored.close()


def _runs(values: np.ndarray) -> list[tuple[int, slice]]:
    """Equal neighbours of an increasing array: their value and where they are."""
    cuts = np.flatnonzero(np.diff(values)) + 1
    starts, ends = [0, *cuts.tolist()], [*cuts.tolist(), len(values)]
    return [(int(values[start]), slice(start, end)) for start, end in zip(starts, ends, strict=True)]


def _slice(index: np.ndarray) -> np.ndarray | slice:
    """An increasing index as a slice where it leaves nothing out and has nothing twice."""
    first, last = int(index[0]), int(index[-1])
    if last - first == len(index) - 1 and (len(index) < 2 or (np.diff(index) == 1).all()):
        return slice(first, last + 1)
    return index
