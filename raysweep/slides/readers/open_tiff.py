"""TIFFs of strangers, opened: a chain of pages that ends, and no other file."""

import struct
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import tifffile

from raysweep.errors import WorkError

_MOST_PAGES = 10_000  # each costs some kB and is looked at; slides have a dozen
_CLASSIC, _BIG = 42, 43
_ORDER = {b"II": "<", b"MM": ">"}


def open_tiff(path: Path, file: Any = None) -> tifffile.TiffFile:
    """The file, to be closed by who asked. Raises WorkError where its pages have no end, or are far too many.

    The other files that an OME-TIFF may name, by any path, are not looked at. Raises what tifffile does for what is no
    TIFF. `file`, open for reading, holds the bytes where they are not on a disk under that path; it stays open.
    """
    with nullcontext(file) if file is not None else open(path, "rb") as opened:
        _check_chain(opened, hamamatsu=path.suffix.lower() == ".ndpi")
    if file is None:
        return tifffile.TiffFile(path, _multifile=False)
    file.seek(0)
    return tifffile.TiffFile(file, name=path.name, _multifile=False)


def all_pages(pages: Any) -> list[Any]:
    """A TIFF's pages, or those below one of them, in full. Raises WorkError where they are far too many."""
    if len(pages) > _MOST_PAGES:
        raise WorkError(f"damaged: it names {len(pages):,} pages")
    return [page.aspage() for page in pages]


def every_page(tiff: tifffile.TiffFile) -> list[Any]:
    """All pages of a TIFF and all those below them. Raises WorkError for a circle of pages, and for far too many."""
    found: dict[int, Any] = {}
    waiting = all_pages(tiff.pages)
    while waiting:
        page = waiting.pop()
        if page.offset in found or len(found) > _MOST_PAGES:
            raise WorkError(f"damaged: its pages go round in a circle, or are more than {_MOST_PAGES:,}")
        found[page.offset] = page
        if page.subifds:
            waiting += all_pages(page.pages)
    return list(found.values())


def _check_chain(file: Any, *, hamamatsu: bool) -> None:
    """Each page names the next by its place in the file; tifffile would follow a circle until memory is full.

    Raises WorkError for a circle, and for far too many pages.
    """
    head = file.read(16)
    order = _ORDER.get(head[:2])
    if order is None or len(head) < 16:
        return
    kind = struct.unpack(f"{order}H", head[2:4])[0]
    if kind not in (_CLASSIC, _BIG):
        return
    wide = kind == _BIG or hamamatsu  # Hamamatsu's offsets have 64 bits in a classic file
    offset = struct.unpack(f"{order}Q", head[8:16] if kind == _BIG else head[4:12])[0]
    offset = offset if wide else struct.unpack(f"{order}I", head[4:8])[0]
    count, tag = ("Q", 20) if kind == _BIG else ("H", 12)
    seen: set[int] = set()
    while offset:
        if offset in seen or len(seen) > _MOST_PAGES:
            raise WorkError(f"damaged: its pages go round in a circle, or are more than {_MOST_PAGES:,}")
        seen.add(offset)
        file.seek(offset)
        n = _number(file.read(struct.calcsize(count)), f"{order}{count}")
        file.seek(offset + struct.calcsize(count) + n * tag)
        offset = _number(file.read(8 if wide else 4), f"{order}{'Q' if wide else 'I'}")


def _number(data: bytes, form: str) -> int:
    """0 where the file has ended: a reader will say more."""
    return int(struct.unpack(form, data)[0]) if len(data) == struct.calcsize(form) else 0
