"""Tiled TIFFs whose tiles are JPEGs: each tile is read and decoded once."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from raysweep.errors import WorkError
from raysweep.patches.codec import decode_jpeg
from raysweep.slides.readers.jpeg_stream import JpegTiles
from raysweep.slides.readers.open_tiff import open_tiff
from raysweep.slides.readers.reader import NotMine
from raysweep.slides.readers.tiff_image import find_image
from raysweep.slides.tissue.find import NotBrightfield

_JPEG, _RGB, _YCBCR = 7, 2, 6  # TIFF's compression and photometric tags
_MOST_TILE_PX = 4096


@dataclass(frozen=True)
class _Level:
    """One image of the pyramid: `tile` is (width, height); the tables of tiles are row by row."""

    tile: tuple[int, int]
    columns: int
    offsets: Sequence[int]
    sizes: Sequence[int]
    jpegs: JpegTiles


class Source(Protocol):
    """Where a file's bytes come from, if not from the disk."""

    def expect(self, spans: Iterable[tuple[int, int]]) -> None:
        """(first byte, bytes) of what will be read next, once each and in this order."""
        ...

    def read(self, first: int, size: int) -> bytes:
        """Raises OSError when it cannot be read."""
        ...

    def close(self) -> None: ...


class JpegTiffReader:
    """An Aperio, OME or generic pyramidal TIFF with JPEG tiles: see `Reader`.

    Geometry follows OpenSlide where that sees the whole picture, else `find_image`.
    """

    name = "jpeg-tiff"
    strip_px: int | None = 1400  # a row of decoded tiles as wide as this stays in the cache until the patches are cut

    def __init__(self, path: Path, tiles: Source | None = None) -> None:
        """`tiles` gives the bytes of tiles where those in the file of that path are not the slide's.

        Raises NotMine when the file is anything else, and WorkError when a part of it is missing.
        """
        try:
            with open_tiff(path) as tiff:
                image = find_image(path, tiff)
                self.mpp_xy, self.mpp_source, self.orientation = image.mpp_xy, image.mpp_source, image.orientation
                pages = image.levels
                self._levels = [_level(page, number) for number, page in enumerate(pages)]
                self.level_sizes = [(page.imagewidth, page.imagelength) for page in pages]
                icc = pages[0].tags.get(34675)
                self.icc: bytes | None = None if icc is None else bytes(icc.value)
        except (NotMine, NotBrightfield, WorkError):
            raise
        except Exception as error:  # tifffile raises many kinds over files that are not quite TIFFs
            raise NotMine(f"not a TIFF that can be read ({error})") from error
        self.origin = (0, 0)
        self._source: Source = tiles or _Disk(path)
        self._free: dict[tuple[int, int], list[np.ndarray]] = {}

    def crops(self, level: int, boxes: np.ndarray) -> Iterator[np.ndarray]:
        about, size = self._levels[level], self.level_sizes[level]
        free = self._free.setdefault(about.tile, [])
        decoded: dict[int, np.ndarray] = {}
        parts_of = pastes(boxes, about.tile, about.columns, size)
        self.expect(level, dict.fromkeys(part[0] for parts in parts_of for part in parts))
        for (x0, y0, x1, y1), parts in zip(boxes.tolist(), parts_of, strict=True):
            crop = np.empty((y1 - y0, x1 - x0, 3), np.uint8)
            if x0 < 0 or y0 < 0 or x1 > size[0] or y1 > size[1]:
                crop.fill(255)
            for tile, last, top, bottom, left, right, tile_top, tile_bottom, tile_left, tile_right in parts:
                pixels = decoded.get(tile)
                if pixels is None:
                    pixels = decoded[tile] = self._decode(level, tile)
                crop[top:bottom, left:right] = pixels[tile_top:tile_bottom, tile_left:tile_right]
                if last:
                    free.append(decoded.pop(tile))
            yield crop

    def _decode(self, level: int, tile: int) -> np.ndarray:
        """A tile's pixels, uint8 (h, w, 3), in memory that is used again once it is put among the free."""
        about = self._levels[level]
        width, height = about.tile
        free = self._free.setdefault(about.tile, [])
        pixels = free.pop() if free else np.empty((height, width, 3), np.uint8)
        try:
            found = decode_jpeg(self.tile_jpeg(level, tile), pixels)
            if found.shape != pixels.shape:
                pixels = self._filled_up(found, level, tile)
        except (ValueError, WorkError) as error:
            row, column = divmod(tile, about.columns)
            raise WorkError(
                f"pixels cannot be read at level {level}, x {column * width}, y {row * height} ({error})"
            ) from error
        return pixels

    def _filled_up(self, found: np.ndarray, level: int, tile: int) -> np.ndarray:
        """A tile of another size: some writers cut those at the edges of the picture. Raises ValueError for others."""
        about, size = self._levels[level], self.level_sizes[level]
        row, column = divmod(tile, about.columns)
        wide, high = (min(about.tile[axis], size[axis] - (column, row)[axis] * about.tile[axis]) for axis in (0, 1))
        width, height = about.tile
        if not (wide <= found.shape[1] <= width and high <= found.shape[0] <= height):
            raise ValueError(f"{found.shape[1]} x {found.shape[0]} pixels instead of {width} x {height}")
        pixels = np.full((height, width, 3), 255, np.uint8)
        pixels[: found.shape[0], : found.shape[1]] = found
        return pixels

    def tile_jpeg(self, level: int, tile: int) -> bytes:
        """A tile as a JPEG of its own, the pixels as the file has them. Tiles count row by row."""
        about = self._levels[level]
        size = about.sizes[tile]
        data = self._source.read(about.offsets[tile], size)
        if len(data) < size:
            raise WorkError("the file ends in the middle of a tile")
        return about.jpegs.whole(data)

    def expect(self, level: int, tiles: Iterable[int]) -> None:
        """Say which tiles will be read next, in this order: they may be fetched ahead."""
        about = self._levels[level]
        self._source.expect((about.offsets[tile], about.sizes[tile]) for tile in tiles)

    def level_bytes(self, level: int) -> int:
        """Bytes of all tiles of a level."""
        return int(sum(self._levels[level].sizes))

    def tile_grid(self, level: int) -> tuple[tuple[int, int], int]:
        """(width, height) of the level's tiles and how many make a row."""
        return self._levels[level].tile, self._levels[level].columns

    def close(self) -> None:
        self._source.close()


class _Disk:
    """A file on a disk, of which nothing is fetched ahead: the kernel does."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "rb")  # noqa: SIM115

    def expect(self, spans: Iterable[tuple[int, int]]) -> None:
        pass

    def read(self, first: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, first)

    def close(self) -> None:
        self._file.close()


def _level(page: Any, number: int) -> _Level:
    if not _plain(page):
        raise NotMine(f"level {number} is not made of JPEG tiles in RGB or YCbCr")
    if not all(page.databytecounts):
        raise NotMine(f"level {number} leaves out tiles")
    columns = -(-page.imagewidth // page.tilewidth)
    if len(page.dataoffsets) > columns * -(-page.imagelength // page.tilelength):
        raise NotMine(f"level {number} has more tiles than it should")
    jpegs = JpegTiles(page.jpegtables, ycbcr=page.photometric == _YCBCR)
    return _Level((page.tilewidth, page.tilelength), columns, page.dataoffsets, page.databytecounts, jpegs)


def _plain(page: Any) -> bool:
    return bool(
        page.is_tiled
        and page.compression == _JPEG
        and page.photometric in (_RGB, _YCBCR)
        and (page.samplesperpixel, page.bitspersample, page.planarconfig, page.imagedepth) == (3, 8, 1, 1)
        and max(page.tilewidth, page.tilelength) <= _MOST_TILE_PX
        and page.jpegheader is None  # Hamamatsu's
    )


def pastes(boxes: np.ndarray, tile: tuple[int, int], columns: int, size: tuple[int, int]) -> list[list[list[int]]]:
    """For each box, in order, the parts of tiles that it shows.

    Args:
        boxes: left, top, right and bottom (the last two exclusive) of crops of an image, integer (n, 4).
        tile: (width, height) of the image's tiles.
        columns: tiles in a row.
        size: (width, height) of the image; what boxes or tiles have beyond it is shown nowhere.

    A part is [tile, whether no later part is of that tile, first and last row and first and last column in the crop,
    the same in the tile]; tiles count row by row, last rows and columns are exclusive. Parts of a box come row by row.
    """
    left, top, right, bottom = np.asarray(boxes, np.int64).reshape(-1, 4).T
    a, c = np.maximum(left, 0), np.maximum(top, 0)
    b, d = np.minimum(right, size[0]), np.minimum(bottom, size[1])
    first_column, first_row = a // tile[0], c // tile[1]
    n_columns = np.where(b > a, -(-b // tile[0]) - first_column, 0)
    n_rows = np.where(d > c, -(-d // tile[1]) - first_row, 0)
    counts = n_columns * n_rows
    ends = np.cumsum(counts)
    box = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(box)) - np.repeat(ends - counts, counts)
    row = first_row[box] + number // n_columns[box]
    column = first_column[box] + number % n_columns[box]
    tiles = row * columns + column
    last = np.zeros(len(tiles), bool)
    last[len(tiles) - 1 - np.unique(tiles[::-1], return_index=True)[1]] = True
    x0, x1 = np.maximum(a[box], column * tile[0]), np.minimum(b[box], (column + 1) * tile[0])
    y0, y1 = np.maximum(c[box], row * tile[1]), np.minimum(d[box], (row + 1) * tile[1])
    in_crop = (y0 - top[box], y1 - top[box], x0 - left[box], x1 - left[box])
    in_tile = (y0 - row * tile[1], y1 - row * tile[1], x0 - column * tile[0], x1 - column * tile[0])
    parts = np.stack([tiles, last, *in_crop, *in_tile], axis=1).tolist()
    return [parts[end - count : end] for end, count in zip(ends.tolist(), counts.tolist(), strict=True)]
