"""Whether a slide's files hold all that their own directories name."""

import logging
from configparser import ConfigParser
from configparser import Error as NoIni
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from raysweep.errors import WorkError
from raysweep.slides.readers.open_tiff import all_pages, open_tiff

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it complains of ends as an exception here

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def check_complete(path: Path) -> None:
    """Raises WorkError, which names the first part that is missing, when a slide was not copied as a whole.

    OpenSlide itself complains only of what it is asked to read. Only directories are looked at: those of TIFFs, whoever
    wrote them, and of MRXS. Of other formats nothing is said.
    """
    if path.suffix.lower() == ".mrxs":
        _check_mrxs(path)
    elif is_tiff(path):
        try:
            with open_tiff(path) as tiff:
                check_tiff(tiff, path)
        except WorkError:
            raise
        except Exception:  # tifffile raises many kinds over files that are not quite TIFFs; a reader will say more
            return


def check_page(page: Any, name: str, length: int) -> None:
    """Raises WorkError when a page of tifffile's lacks tiles or strips, or some lie beyond the `length` of its file.

    Where a tile is not even named, OpenSlide would see glass.
    """
    n = len(page.dataoffsets)
    columns, tiles = 1, n
    if page.is_tiled:
        columns = -(-page.imagewidth // page.tilewidth)
        tiles = columns * -(-page.imagelength // page.tilelength)
    if n < tiles:  # a file of a few bytes can claim any size
        raise WorkError(f"damaged: it names {n} of the {tiles} tiles of {name}")
    ends = np.asarray(page.dataoffsets, np.int64) + np.asarray(page.databytecounts, np.int64)
    beyond = np.flatnonzero(ends > length)
    if len(beyond):
        row, column = divmod(int(beyond[0]) % tiles, columns)
        what, place = ("tiles", f"in column {column}, row {row}") if page.is_tiled else ("strips", f"number {row}")
        raise WorkError(
            f"truncated: {len(beyond)} of {n} {what} of {name}, the first {place}, lie beyond the end of the file "
            f"({length} bytes)"
        )


def is_tiff(path: Path) -> bool:
    """Whether a file begins as TIFFs do."""
    try:
        with open(path, "rb") as file:
            return file.read(4) in _TIFF_MAGIC
    except OSError:  # a reader will say more
        return False


def check_tiff(tiff: tifffile.TiffFile, path: Path) -> None:
    """`check_complete` of an open TIFF."""
    if path.suffix.lower() == ".ndpi" and not tiff.is_ndpi:
        return  # by that name tifffile takes its offsets for Hamamatsu's, which have 64 bits
    length, levels = tiff.filehandle.size, 0
    pages = all_pages(tiff.pages)
    for page in pages:
        check_page(page, f"level {levels}" if page.is_tiled else f"page {page.index}", length)
        levels += page.is_tiled
    file, width = tiff.filehandle, tiff.tiff.offsetsize
    file.seek(tiff.pages.next_page_offset or 0)
    after = int.from_bytes(file.read(width), "little" if tiff.byteorder == "<" else "big")
    if after:  # tifffile has stopped, and Pillow would, as if these pages were all
        raise WorkError(f"truncated: page {len(pages)} should begin at byte {after} of a file of {length} bytes")


def _check_mrxs(path: Path) -> None:
    folder = path.with_suffix("")
    about = folder / "Slidedat.ini"
    if not about.is_file():
        raise WorkError(f"the folder {folder.name} that belongs beside an .mrxs is missing, or its Slidedat.ini is")
    ini = ConfigParser(strict=False, interpolation=None)
    try:
        ini.read_string(about.read_bytes().decode("utf-8-sig", "replace"))
        data = ini["DATAFILE"]
        names = [data[f"FILE_{i}"] for i in range(int(data["FILE_COUNT"]))] + [ini["HIERARCHICAL"]["INDEXFILE"]]
    except (OSError, NoIni, KeyError, ValueError):  # OpenSlide will say more
        return
    outside = [name for name in names if name in ("", ".", "..") or "/" in name or "\\" in name]
    if outside:
        raise WorkError(f"damaged: {folder.name}/Slidedat.ini names a file outside of its folder, {outside[0]!r}")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise WorkError(
            f"incomplete: {len(missing)} of the {len(names)} files that {folder.name}/Slidedat.ini names are missing, "
            f"the first is {missing[0]}"
        )
