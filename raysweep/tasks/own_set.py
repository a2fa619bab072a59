"""The patch set of a study that a task is made from, as files of this machine."""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs

from raysweep.errors import WorkError
from raysweep.local_path import own_temporary
from raysweep.retry import retried
from raysweep.storage import MANIFEST, Storage, fingerprint

_SHARDS, _LOCK, _USED, _PART, _WHOLE = "shards", "lock", "used", "part", "whole"
_KEPT_SECONDS = 86_400.0  # that a copy is kept after it was last asked for
_THREADS = 8
_SPARE = 1.05  # of the disk: files take whole blocks
_using: dict[Path, int] = {}  # copies that this process may read, each with a lock that ends with it


def own_set_folder(place: Storage) -> Path:
    """`place` where it is a folder; of an object storage a copy, made once for all processes of this machine.

    place: a complete patch set, of which nothing changes any more. A copy has its shards, tables and manifest, stands
    below the folder of temporary files, and goes when no process uses it and none has asked for it in a day. It appears
    whole: a killed process leaves a part, which the next one begins anew.
    Raises WorkError for a set that is not there, cannot be reached, or is larger than what is free on the disk.
    """
    if place.is_local:
        return Path(place.root)
    infos = _files(place)
    home = own_temporary("sets")
    facts = [[info.path, info.size, info.mtime_ns] for info in infos]
    slot = home / fingerprint([place.fs.type_name, facts])
    with _locked(home):
        _remove_old(home)
        slot.mkdir(exist_ok=True)
        os.utime(slot)
        if slot not in _using:
            _using[slot] = os.open(slot / _USED, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(_using[slot], fcntl.LOCK_SH)
    with _locked(slot):
        if not (slot / _WHOLE).is_dir():
            _copy(place, infos, slot)
    return slot / _WHOLE


def _files(place: Storage) -> list[pafs.FileInfo]:
    """What a task reads of a set: no overlays, and no exports for other programs."""

    def listed() -> list[pafs.FileInfo]:
        folders = [pafs.FileSelector(path, allow_not_found=True) for path in (place.root, place.path(_SHARDS))]
        return [info for folder in folders for info in place.fs.get_file_info(folder)]

    try:
        found = retried(listed)
    except (pa.ArrowException, OSError) as error:
        raise WorkError(f"{place.root}: cannot be reached ({_short(error)})") from error
    files = sorted((info for info in found if info.is_file), key=lambda info: info.path)
    if not any(info.base_name == MANIFEST for info in files):
        raise WorkError(f"{place.root}: is no complete patch set; `raysweep tile` of its study makes it")
    return files


def _copy(place: Storage, infos: list[pafs.FileInfo], slot: Path) -> None:
    part, local = slot / _PART, pafs.LocalFileSystem()
    shutil.rmtree(part, ignore_errors=True)
    need, free = int(_SPARE * sum(info.size for info in infos)), shutil.disk_usage(slot).free
    if need > free:
        raise WorkError(
            f"{place.root}: takes {need / 1e9:.1f} GB on the disk of {slot.parent}, where {free / 1e9:.1f} GB are "
            "free; make room, or set TMPDIR to a larger disk"
        )
    (part / _SHARDS).mkdir(parents=True)

    def fetch(info: pafs.FileInfo) -> None:
        target = part / info.path[len(place.root) :].lstrip("/")
        retried(lambda: pafs.copy_files(
            info.path, str(target), source_filesystem=place.fs, destination_filesystem=local, use_threads=False
        ))  # fmt: skip
        if target.stat().st_size != info.size:
            raise WorkError(f"{info.path}: has changed while it was copied; run it again")
        os.utime(target, ns=(info.mtime_ns, info.mtime_ns))  # the same on every machine, as its size is

    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(fetch, infos))
        part.rename(slot / _WHOLE)
    except (pa.ArrowException, OSError) as error:
        raise WorkError(f"{place.root}: cannot be copied to {slot} ({_short(error)})") from error


def _remove_old(home: Path) -> None:
    for slot in home.iterdir():
        if not slot.is_dir() or time.time() - slot.stat().st_mtime < _KEPT_SECONDS:
            continue
        used = os.open(slot / _USED, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(slot, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(used)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _short(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split())
