"""Which DICOM files are one slide: those of a series, most often one for each level, side by side in a folder."""

import re
import struct
from pathlib import PurePosixPath

import pyarrow.fs as pafs

from raysweep.addresses import locate
from raysweep.slides.dicom_elements import elements, text_of

_HEAD_BYTES = 2**16  # of a file, read at once: the series is told near its start
_SERIES = (0x0020, 0x000E)
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
    try:
        for tag, start, length in elements(head):
            if tag >= _SERIES:
                return text_of(head, start, length) if tag == _SERIES else None
        return None
    except (struct.error, IndexError, UnicodeDecodeError, RecursionError):  # damaged: a reader will say more
        return None
