"""Decoded samples that the processes of a machine hold together: each once, in a file that all of them map."""

import errno
import fcntl
import json
import mmap
import os
import shutil
import struct
import threading
import uuid
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from raysweep.local_path import own_temporary

_PLACE = struct.Struct(
    "<qq"
)  # of a record: where it begins and its length; 0 where there is none. The first: the end, 0
_HEAD = struct.Struct("<q")
_HELD, _PLACES, _DATA, _GONE = "held", "places", "data", ".gone-"
_ALIGN = 64  # bytes: arrays begin at multiples of it


class NodeCache:
    """Records (named arrays) by number, shared by all processes of a user on this machine that give the same key.

    A record is written by whoever has it first, and read by all through one read-only mapping: its pages stand in the
    system's page cache once, where a machine that runs short of memory finds them first. The files are removed when
    the last process that uses them ends; what killed processes left is removed by the next that opens a cache.
    """

    def __init__(self, key: str, *, limit: int) -> None:
        """`limit`: bytes that its records may take; never more than an eighth of what is free on the disk.

        `key` is the name of a folder. Raises WorkError when the folder of temporary files cannot be used, or holds
        somebody else's folder of that name.
        """
        home = own_temporary("decoded")
        remove_unused()
        folder, held = _hold(home / key)
        self._lock = threading.Lock()
        self._known: dict[int, tuple[int, int]] = {}
        self._places = os.open(folder / _PLACES, os.O_RDWR | os.O_CREAT, 0o600)
        self._data = os.open(folder / _DATA, os.O_RDWR | os.O_CREAT, 0o600)
        weakref.finalize(self, _let_go, folder, held, self._places, self._data)
        with self._locked():
            if not os.fstat(self._data).st_size:  # a hole, that records fill
                room = max(mmap.PAGESIZE, min(limit, shutil.disk_usage(folder).free // 8))
                os.ftruncate(self._data, room)
        self._map = mmap.mmap(self._data, 0, access=mmap.ACCESS_READ)

    def get(self, number: int) -> dict[str, np.ndarray] | None:
        """A record's arrays, read-only and not copied; None when nobody has put it."""
        place = self._known.get(number)
        if place is None:
            with self._locked():
                place = self._place(number + 1)
            if not place[1]:
                return None
            self._known[number] = place
        return _arrays(self._map, *place)

    def put(self, number: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep a record for everybody, unless it is there already or there is no room for it."""
        with self._locked():
            end, _ = self._place(0)
            if self._place(number + 1)[1]:
                return
            blob = _blob(arrays)
            if end + len(blob) > len(self._map) or not _written(self._data, blob, end):
                return
            # in this order: whoever is killed in between leaves a gap, and nothing that is read
            os.pwrite(self._places, _PLACE.pack(end + len(blob), 0), 0)
            os.pwrite(self._places, _PLACE.pack(end, len(blob)), (number + 1) * _PLACE.size)

    def _place(self, slot: int) -> tuple[int, int]:
        found = os.pread(self._places, _PLACE.size, slot * _PLACE.size)
        return _PLACE.unpack(found) if found else (0, 0)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among the threads of this process, and among processes."""
        with self._lock:
            fcntl.flock(self._places, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._places, fcntl.LOCK_UN)


def remove_unused() -> None:
    """Remove the files of caches that no process uses any more: those of processes that were killed."""
    for folder in own_temporary("decoded").iterdir():
        try:
            held = os.open(folder / _HELD, os.O_RDWR)
        except FileNotFoundError:  # being made, being removed, or left half removed
            if folder.name.startswith(_GONE):
                shutil.rmtree(folder, ignore_errors=True)
            continue
        _remove(folder, held)
        os.close(held)


def _hold(folder: Path) -> tuple[Path, int]:
    """The folder, made, and a descriptor that keeps others from removing it."""
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            held = os.open(folder / _HELD, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            continue  # it was removed in between
        fcntl.flock(held, fcntl.LOCK_SH)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(held), os.stat(folder / _HELD)):
                return folder, held
        os.close(held)


def _let_go(folder: Path, held: int, *descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
    fcntl.flock(held, fcntl.LOCK_UN)
    _remove(folder, held)
    os.close(held)


def _remove(folder: Path, held: int) -> None:
    """Remove a folder unless somebody holds it."""
    with suppress(OSError):  # held, or removed by somebody else
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(held), os.stat(folder / _HELD)):
            gone = folder.with_name(f"{_GONE}{uuid.uuid4().hex}")  # whoever opens it now makes a new one
            folder.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)


def _written(file: int, data: bytes, at: int) -> bool:
    """Whether there was room for it on the disk."""
    try:
        return os.pwrite(file, data, at) == len(data)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return False


def _blob(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A length, a description in JSON, and the arrays, padded to whole blocks."""
    head: dict[str, list] = {}
    at = 0
    for name, array in arrays.items():
        head[name] = [array.dtype.str, array.shape, at]
        at += -(-array.nbytes // _ALIGN) * _ALIGN
    described = json.dumps(head).encode()
    parts = [_padded(_HEAD.pack(len(described)) + described)]
    parts += [_padded(np.ascontiguousarray(array).tobytes()) for array in arrays.values()]
    return b"".join(parts)


def _arrays(data: mmap.mmap, start: int, length: int) -> dict[str, np.ndarray]:
    (size,) = _HEAD.unpack_from(data, start)
    first = start + _HEAD.size
    head = json.loads(data[first : first + size])
    first = start + -(-(_HEAD.size + size) // _ALIGN) * _ALIGN
    found = {}
    for name, (kind, shape, at) in head.items():
        count = int(np.prod(shape, dtype=np.int64))
        found[name] = np.frombuffer(data, np.dtype(kind), count, first + at).reshape(shape)
    return found


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % _ALIGN)
