"""What makes the files of a slide themselves, found once and remembered."""

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import pyarrow.fs as pafs

from raysweep.addresses import locate
from raysweep.slides.dicom import is_dicom_name, series_files
from raysweep.storage import Storage, file_identity

# A mask is compressed and changes its size when it is changed; the largest are as large as slides.
MASK_BYTES = 16 * 2**20  # a mask up to this size is read as a whole
_FILE = "identities.json"


class Identities:
    """Identities of files by path, kept in a study's folder: a file of the same size and time is not read again.

    Nothing depends on what is kept: losing it costs reading 2 MiB of every slide. Threads may share one.
    """

    def __init__(self, folder: Storage | None = None) -> None:
        self._folder = folder
        self._known: dict[str, Any] = {}
        self._seen: dict[str, Any] = {}
        self._lock = threading.Lock()
        if folder is not None and folder.exists(_FILE):
            try:
                self._known = dict(folder.read_json(_FILE))
            except (ValueError, TypeError):  # it is remade
                self._known = {}

    def of_slide(self, path: str) -> dict[str, Any]:
        """Name, size in bytes and hash of the first and last MiB of every file of a slide.

        A MIRAX slide is its `.mrxs` and all files of the folder beside it, a DICOM one all files of its series.
        Raises OSError when it cannot be read, ValueError for a name that is none.
        """
        fs, inside = locate(path)
        first, *rest = files_of(path)
        found = self._remembered("slide", path, first, lambda: file_identity(path))
        if not rest:
            return found
        top = inside.rpartition("/")[0] + "/"
        files = [
            self._remembered("part", info.path, info, partial(file_identity, (fs, info.path)))
            | {"name": info.path.removeprefix(top)}
            for info in rest
        ]
        return found | {"files": files}

    def of_file(self, path: str, most_bytes: int | None = None) -> dict[str, Any]:
        """The same of a single file, with a hash of all of it unless it is larger than `most_bytes`.

        Annotations and coordinates are edited in place: a vertex that moves leaves the size and both ends as they were.
        """
        return self._remembered("file", path, _info(path), lambda: _whole_identity(path, most_bytes))

    def save(self) -> None:
        """Keep what was found, if any of it is new."""
        if self._folder is not None and self._seen and not self._seen.items() <= self._known.items():
            self._folder.write_json(self._known | self._seen, _FILE)
            self._known |= self._seen

    def _remembered(
        self, kind: str, path: str, info: pafs.FileInfo, find: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        stamp = _stamp(info)
        key = hashlib.blake2b(f"{kind} {path}".encode(), digest_size=12).hexdigest()
        with self._lock:
            entry = self._seen.get(key) or self._known.get(key)
        if entry is None or entry["stamp"] != stamp:
            entry = {"stamp": stamp, "identity": find()}
        with self._lock:
            self._seen[key] = entry
        return dict(entry["identity"])


def files_of(path: str) -> Iterator[pafs.FileInfo]:
    """All files that make up a slide, the named one first. Raises OSError when it is not there."""
    fs, inside = locate(path)
    yield _found(fs.get_file_info(inside))
    suffix = PurePosixPath(inside).suffix.lower()
    if suffix == ".mrxs":
        beside = pafs.FileSelector(inside[: -len(suffix)], recursive=True, allow_not_found=True)
        yield from sorted((i for i in fs.get_file_info(beside) if i.is_file), key=lambda i: i.path)
    elif is_dicom_name(PurePosixPath(inside).name):
        yield from (info for info in series_files(path) if info.path != inside)


def _whole_identity(path: str, most_bytes: int | None) -> dict[str, Any]:
    fs, inside = locate(path)
    with fs.open_input_file(inside) as file:
        size = file.size()
        if most_bytes is not None and size > most_bytes:
            return file_identity(path)
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
    return {"name": inside.rpartition("/")[2], "size": size, "hash": digest.hexdigest()}


def _info(path: str) -> pafs.FileInfo:
    fs, inside = locate(path)
    return _found(fs.get_file_info(inside))


def _found(info: pafs.FileInfo) -> pafs.FileInfo:
    if not info.is_file:
        raise FileNotFoundError(info.path)
    return info


def _stamp(info: pafs.FileInfo) -> str:
    """What changes when a file does: its size and time, and on a disk its number there."""
    number = None
    if os.path.isabs(info.path):
        with suppress(OSError):  # HDFS has such names too, and they are not of this machine
            number = os.stat(info.path).st_ino
    return json.dumps([info.size, info.mtime_ns, number])
