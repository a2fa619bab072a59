"""TIFFs of any compression, in tiles or strips, of which OpenSlide and Pillow would see something else."""

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from raysweep.errors import WorkError, reason_of
from raysweep.patches.codec import decode_jpeg
from raysweep.slides.readers.claimed import claimed_pixels
from raysweep.slides.readers.complete import is_tiff
from raysweep.slides.readers.jpeg_colours import jpeg_is_ycbcr
from raysweep.slides.readers.jpeg_stream import JpegTiles
from raysweep.slides.readers.jpeg_tiff import pastes
from raysweep.slides.readers.open_tiff import open_tiff
from raysweep.slides.readers.reader import NotMine
from raysweep.slides.readers.samples import Samples
from raysweep.slides.readers.tiff_image import find_image
from raysweep.slides.tissue.find import NotBrightfield

_JPEG, _RGB, _YCBCR = 7, 2, 6  # TIFF's compression and photometric tags
_MOST_PIECE_PIXELS = 2**27  # decoded at once: a tile or strip, of which a small file can claim any size
_CACHE_BYTES = 128 * 2**20  # of decoded pieces
_PROBES = 64  # pieces that are looked at for the brightest value


class TiffReader:
    """The slide in a TIFF that is more than its first page in 8 bits, stored upright: see `Reader`."""

    name = "tiff"
    strip_px: int | None = None

    def __init__(self, path: Path) -> None:
        """Raises NotMine when another reader sees the same, NotBrightfield for other images, WorkError when damaged."""
        if not is_tiff(path) or path.suffix.lower() == ".ndpi":
            raise NotMine("no TIFF, or Hamamatsu's")
        self._cache: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._cached = 0
        try:
            self._file = open_tiff(path)
        except WorkError:
            raise
        except Exception as error:  # tifffile raises many kinds over files that are not quite TIFFs
            raise NotMine(f"not a TIFF that can be read ({error})") from error
        try:
            self._look(path)
        except (NotMine, NotBrightfield, WorkError):
            self._file.close()
            raise
        except Exception as error:
            several = len(self._file.pages) > 1
            self._file.close()
            if several:  # others would take the first for the slide
                raise WorkError(f"damaged: its pages cannot be told apart ({reason_of(error)})") from error
            raise NotMine(f"not a TIFF that can be read ({error})") from error

    def _look(self, path: Path) -> None:
        image = find_image(path, self._file)
        if image.plain and not self._other_colours(image.levels[0]):
            raise NotMine("other readers see the same")
        self._pages = image.levels
        self.level_sizes = [(page.imagewidth, page.imagelength) for page in self._pages]
        self.mpp_xy, self.mpp_source, self.orientation = image.mpp_xy, image.mpp_source, image.orientation
        icc = self._pages[0].tags.get(34675)
        self.icc: bytes | None = None if icc is None else bytes(icc.value)
        self.origin = (0, 0)
        for page in self._pages:
            if not 0 < _piece(page)[0] * _piece(page)[1] <= _MOST_PIECE_PIXELS:
                raise WorkError(
                    f"tiles or strips of {_piece(page)[0]} x {_piece(page)[1]} pixels cannot be read; write it in tiles"
                )
        self._jpegs = [JpegTiles(page.jpegtables, ycbcr=page.photometric == _YCBCR) for page in self._pages]
        self._samples = Samples(self._pages[0], image.bits)
        if self._samples.unsure:
            self._samples.check_white(self._brightest())

    def crops(self, level: int, boxes: np.ndarray) -> Iterator[np.ndarray]:
        page, size = self._pages[level], self.level_sizes[level]
        tile = _piece(page)
        parts_of = pastes(boxes, tile, -(-size[0] // tile[0]), size)
        for (x0, y0, x1, y1), parts in zip(boxes.tolist(), parts_of, strict=True):
            crop = np.full((y1 - y0, x1 - x0, 3), 255, np.uint8)
            for index, _, top, bottom, left, right, tile_top, tile_bottom, tile_left, tile_right in parts:
                pixels = self._decoded(level, index)
                crop[top:bottom, left:right] = pixels[tile_top:tile_bottom, tile_left:tile_right]
            yield crop

    def _decoded(self, level: int, index: int) -> np.ndarray:
        """A tile or strip, uint8 (h, w, 3)."""
        key = level, index
        piece = self._cache.get(key)
        if piece is not None:
            self._cache.move_to_end(key)
            return piece
        values = self._values(level, index)
        if values is None:  # never written
            piece = np.full((*_piece(self._pages[level])[::-1], 3), 255, np.uint8)
        else:
            piece = self._samples.rgb(values)
        self._cache[key] = piece
        self._cached += piece.nbytes
        while self._cached > _CACHE_BYTES and len(self._cache) > 1:
            self._cached -= self._cache.popitem(last=False)[1].nbytes
        return piece

    def _values(self, level: int, index: int) -> np.ndarray | None:
        """What a tile or strip holds, (h, w, samples); None where it was never written."""
        page = self._pages[level]
        planes = page.samplesperpixel if page.planarconfig == 2 else 1
        step = len(page.dataoffsets) // planes
        parts = [self._plane(level, index + plane * step) for plane in range(planes)]
        found = [part for part in parts if part is not None]
        return np.concatenate(found, axis=2) if len(found) == planes else None

    def _plane(self, level: int, index: int) -> np.ndarray | None:
        page, file = self._pages[level], self._file.filehandle
        n_bytes = page.databytecounts[index]
        if n_bytes == 0:
            return None
        file.seek(page.dataoffsets[index])
        data = file.read(n_bytes)
        try:
            if len(data) < n_bytes:
                raise WorkError("the file ends in the middle of it")
            if claimed_pixels(data, int(page.compression)) > _MOST_PIECE_PIXELS:
                raise WorkError("it claims to be far larger than the tile")
            if _is_colour_jpeg(page):
                return decode_jpeg(self._jpegs[level].whole(data))
            decoded: Any = page.decode(data, index, jpegtables=page.jpegtables)[0]
            return np.asarray(decoded[0])
        except Exception as error:  # decoders raise anything
            width, height = _piece(page)
            row, column = divmod(index, -(-page.imagewidth // width))
            raise WorkError(
                f"pixels cannot be read at level {level}, x {column * width}, y {row * height} ({reason_of(error)})"
            ) from error

    def _other_colours(self, page: Any) -> bool:
        """Whether JPEGs say that their colours are other ones than the TIFF says, which libtiff would believe."""
        piece = next((i for i, n_bytes in enumerate(page.databytecounts) if n_bytes), None)
        if piece is None or not _is_colour_jpeg(page):
            return False
        file = self._file.filehandle
        file.seek(page.dataoffsets[piece])
        told = jpeg_is_ycbcr(file.read(page.databytecounts[piece]))
        return told is not None and told != (page.photometric == _YCBCR)

    def _brightest(self) -> float:
        """The largest value that is seen in pieces all over the smallest level."""
        level, page = len(self._pages) - 1, self._pages[-1]
        n = len(page.dataoffsets) // (page.samplesperpixel if page.planarconfig == 2 else 1)
        seen = (self._values(level, int(index)) for index in np.unique(np.linspace(0, n - 1, _PROBES).round()))
        return max((float(values.max()) for values in seen if values is not None and values.size), default=0.0)

    def close(self) -> None:
        self._file.close()
        self._cache.clear()


def _is_colour_jpeg(page: Any) -> bool:
    return bool(
        page.compression == _JPEG
        and page.photometric in (_RGB, _YCBCR)
        and (page.samplesperpixel, page.bitspersample, page.planarconfig) == (3, 8, 1)
        and page.jpegheader is None  # Hamamatsu's
    )


def _piece(page: Any) -> tuple[int, int]:
    """(width, height) of a page's tiles or strips."""
    if page.is_tiled:
        return int(page.tilewidth), int(page.tilelength)
    return int(page.imagewidth), int(min(page.rowsperstrip, page.imagelength))
