"""Which DICOM files are one slide: those of a series, most often one for each level, side by side in a folder."""

import re
import struct
from pathlib import PurePosixPath

import pyarrow.fs as pafs

from raysweep.storage import locate

_HEAD_BYTES = 2**16  # of a file, read at once: the series is told near its start
_IMPLICIT = "1.2.840.10008.1.2"
_SYNTAX, _SERIES = (0x0002, 0x0010), (0x0020, 0x000E)
_ENDS = (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)  # of an item, of a sequence
_LONG = (
    b"OB",
    b"OD",
    b"OF",
    b"OL",
    b"OV",
    b"OW",
    b"SQ",
    b"SV",
    b"UC",
    b"UN",
    b"UR",
    b"UT",
    b"UV",
)  # DICOM PS3.5, 7.1.2
_UNDEFINED = 0xFFFFFFFF
_UID = re.compile(r"\d+(\.\d+){4,}")


def is_dicom_name(name: str) -> bool:
    """Whether files of DICOM are called like this: .dcm, or by a number of theirs alone."""
    return name.lower().endswith(".dcm") or _UID.fullmatch(name) is not None


def series_files(path: str) -> list[pafs.FileInfo]:
    """The files of the series that a DICOM file belongs to, all in its folder and sorted by name, itself included.

    The file alone where it is no DICOM. Raises OSError when it cannot be read.
    """
    fs, inside = locate(path)
    series = _series(fs, inside)
    if series is None:
        return [fs.get_file_info(inside)]
    return series_in(fs, inside.rpartition("/")[0])[series]


def series_in(fs: pafs.FileSystem, folder: str) -> dict[str, list[pafs.FileInfo]]:
    """The files of each series directly in a folder, by the series' UID; files sorted by name.

    Raises OSError when it cannot be listed.
    """
    found: dict[str, list[pafs.FileInfo]] = {}
    for info in sorted(fs.get_file_info(pafs.FileSelector(folder)), key=lambda info: info.path):
        if info.is_file and is_dicom_name(info.base_name):
            series = _series(fs, info.path)
            if series is not None:
                found.setdefault(series, []).append(info)
    return found


def _series(fs: pafs.FileSystem, path: str) -> str | None:
    """The SeriesInstanceUID of a file; None when it is no DICOM, or is one without."""
    if not is_dicom_name(PurePosixPath(path).name):
        return None
    with fs.open_input_file(path) as file:
        head = file.read_at(min(_HEAD_BYTES, file.size()), 0)
    if head[128:132] != b"DICM":
        return None
    try:
        return _find(head)
    except (struct.error, IndexError, UnicodeDecodeError, RecursionError):  # damaged: a reader will say more
        return None


def _find(head: bytes) -> str | None:
    """PS3.10: a preamble, then data elements in the order of their tags; group 2 tells how the rest is coded."""
    at, implicit = 132, False
    while at < len(head):
        if head[at : at + 2] != b"\2\0" and at > 132:
            break
        tag, start, length = _element(head, at, implicit=False)
        if tag == _SYNTAX:
            implicit = _text(head, start, length) == _IMPLICIT
        at = start + length
    while at < len(head):
        tag, start, length = _element(head, at, implicit)
        if tag == _SERIES:
            return _text(head, start, length)
        if tag > _SERIES:
            return None
        at = start + length if length != _UNDEFINED else _after(head, start, implicit)
    return None


def _element(head: bytes, at: int, implicit: bool) -> tuple[tuple[int, int], int, int]:
    """Tag, where its value begins and its length."""
    group, number = struct.unpack_from("<HH", head, at)
    if implicit or group == 0xFFFE:
        return (group, number), at + 8, struct.unpack_from("<I", head, at + 4)[0]
    if head[at + 4 : at + 6] in _LONG:
        return (group, number), at + 12, struct.unpack_from("<I", head, at + 8)[0]
    return (group, number), at + 8, struct.unpack_from("<H", head, at + 6)[0]


def _after(head: bytes, at: int, implicit: bool) -> int:
    """Where a sequence or item that began at `at`, of undefined length, ends."""
    while True:
        tag, at, length = _element(head, at, implicit)
        if tag in _ENDS:
            return at
        at = at + length if length != _UNDEFINED else _after(head, at, implicit)


def _text(head: bytes, start: int, length: int) -> str:
    return head[start : start + length].decode("ascii").strip("\0 ")
