"""Slides on object storage, copied to a disk of the node for as long as they are read."""

import fcntl
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from raysweep.addresses import is_address, locate, shown
from raysweep.errors import WorkError
from raysweep.local_path import own_temporary
from raysweep.slides.dicom import is_dicom_name, series_files
from raysweep.storage import fingerprint

_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 3600.0  # for space: slides in use are done with by then, or hold each other up for ever
_CHUNK = 2**23
_THREADS = 8  # of one slide's files
_LOCK, _PART, _WHOLE, _GONE = "lock", "part", "whole", ".gone-"
_SLOT = re.compile(r"[0-9a-f]{32}-(\d+)")  # `_Copy.slot`


@dataclass(frozen=True)
class _Copy:
    """What is to be copied: the files of a slide, named from the folder that holds it."""

    source: str
    fs: pafs.FileSystem
    top: str
    infos: list[pafs.FileInfo]

    @property
    def size(self) -> int:
        return sum(info.size for info in self.infos)

    @property
    def slot(self) -> str:
        """A folder's name that changes with the slide, and tells the bytes it takes."""
        facts = [[info.path, info.size, info.mtime_ns] for info in self.infos]
        return f"{fingerprint([self.fs.type_name, urlsplit(self.source).query, facts])}-{self.size}"


@contextmanager
def fetched(source: str, *, folder: Path | None = None, limit_bytes: int) -> Iterator[Path]:
    """Where to open one slide on this node: `fetched_together` for a single file."""
    with fetched_together([source], folder=folder, limit_bytes=limit_bytes) as (path,):
        yield path


@contextmanager
def fetched_together(sources: Sequence[str], *, folder: Path | None = None, limit_bytes: int) -> Iterator[list[Path]]:
    """Where to open a slide and its files on this node: a local one where it is, others as copies in `folder`.

    A copy is made once for all processes of the node and kept until its space is needed: the copies together take at
    most `limit_bytes`, those longest unused are removed first, and none is removed while a process is inside this
    context. If slides in use fill the space, the call waits without holding locks: the space of all `sources` is taken
    in one step. All files of a slide are copied with it: the folder of an .mrxs, the other files of a DICOM series,
    everything in a folder. A killed process leaves no lock and no half copy in use: locks are the kernel's (flock),
    and a copy appears by one rename.

    Args:
        sources: absolute paths, or addresses that `locate` understands.
        folder: where copies are kept; must be on a disk of this node. Default: below the folder of temporary files.
        limit_bytes: of all copies in `folder`.

    Raises WorkError when a file does not exist, cannot be copied, or all take more than `limit_bytes`.
    """
    found = []
    for source in sources:
        fs, inside = locate(source)
        far = is_address(source) and not isinstance(fs, pafs.LocalFileSystem)
        found.append((inside, _look(source, fs, inside) if far else None))
    copies = list({copy.slot: copy for _, copy in found if copy}.values())
    if not copies:
        yield [Path(inside) for inside, _ in found]
        return
    size = sum(copy.size for copy in copies)
    if size > limit_bytes:
        raise WorkError(
            f"{_named(copies)} {'take' if len(copies) > 1 else 'takes'} {_size(size)} and slides may take "
            f"{_size(limit_bytes)} on the disk of a node; allow more"
        )
    if folder is not None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    cache = folder or own_temporary("slides")  # whoever else could write there could put other slides there
    locks = _hold(cache, copies, limit_bytes)
    try:
        yield [
            cache / copy.slot / _WHOLE / inside.rpartition("/")[2] if copy else Path(inside) for inside, copy in found
        ]
    finally:
        for lock in locks:
            _touch(lock)
            os.close(lock)


def _look(source: str, fs: pafs.FileSystem, inside: str) -> _Copy:
    top, _, name = inside.rpartition("/")
    try:
        info = fs.get_file_info(inside)
        infos = [info]
        if info.type == pafs.FileType.Directory:
            infos = fs.get_file_info(pafs.FileSelector(inside, recursive=True))
        elif name.lower().endswith(".mrxs"):
            beside = pafs.FileSelector(inside.rpartition(".")[0], recursive=True, allow_not_found=True)
            infos += fs.get_file_info(beside)
        elif is_dicom_name(name) and info.is_file:
            infos = series_files(source)
    except (pa.ArrowException, OSError) as error:
        raise WorkError(f"{shown(source)} cannot be reached ({_reason(error)})") from error
    files = sorted((i for i in infos if i.type == pafs.FileType.File), key=lambda i: i.path)
    if not files:
        raise WorkError(f"no such file: {shown(source)}")
    outside = [i.path for i in files if ".." in i.path[len(top) :].split("/")]
    if outside:  # keys of objects are any text
        raise WorkError(f"{shown(source)}: one of its objects is called {outside[0]}, which is outside of its folder")
    return _Copy(source, fs, top, files)


def _hold(cache: Path, copies: Sequence[_Copy], limit: int) -> list[int]:
    """The open lock files of whole copies, locked against removal; copies first what nobody has copied.

    Locks of copies are only ever taken without waiting and under the lock of the cache, all at once or none, so none
    is waited for in a circle and none is taken of a copy that is being removed.
    """
    patience = time.monotonic() + _PATIENCE_SECONDS
    while (locks := _take(cache, copies, limit)) is None:
        if time.monotonic() > patience:
            raise WorkError(
                f"{_named(copies)} {'have' if len(copies) > 1 else 'has'} waited {_PATIENCE_SECONDS / 60:.3g} minutes "
                f"for {_size(sum(copy.size for copy in copies))} on the disk of a node, where slides in use take most "
                f"of {_size(limit)}; allow more"
            )
        time.sleep(_POLL_SECONDS)
    try:
        for copy, lock in zip(copies, locks, strict=True):
            if not (cache / copy.slot / _WHOLE).exists():
                _fetch(copy, cache / copy.slot)
                with _locked(cache):  # going from one kind of lock to the other is not atomic
                    _try(lock, fcntl.LOCK_SH)
            _touch(lock)
    except BaseException:
        with _locked(cache):
            for copy in copies:
                if not (cache / copy.slot / _WHOLE).exists():
                    _remove(cache / copy.slot)
        for lock in locks:
            os.close(lock)
        raise
    return locks


def _take(cache: Path, copies: Sequence[_Copy], limit: int) -> list[int] | None:
    """A lock on each copy, shared on a whole one; None when one is being copied, or there is no space for the rest."""
    locks: dict[str, int] = {}
    with _locked(cache), ExitStack() as opened:

        def lock(copy: _Copy) -> bool:
            slot = cache / copy.slot
            locks[copy.slot] = os.open(slot / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            opened.callback(os.close, locks[copy.slot])
            return _try(locks[copy.slot], fcntl.LOCK_SH if (slot / _WHOLE).exists() else fcntl.LOCK_EX)

        there = [copy for copy in copies if (cache / copy.slot).exists()]
        missing = [copy for copy in copies if copy not in there]
        if not all(map(lock, there)):
            return None
        # What is there of the slide is locked by now, so it does not make room for the rest.
        if missing and not _make_room(cache, sum(copy.size for copy in missing), limit):
            return None
        for copy in missing:
            (cache / copy.slot).mkdir()
            lock(copy)
        opened.pop_all()
    return [locks[copy.slot] for copy in copies]


def _named(copies: Sequence[_Copy]) -> str:
    more = len(copies) - 1
    return shown(copies[0].source) + (f" and {more} more file{'s' * (more > 1)} of the same slide" if more else "")


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    lock = os.open(cache / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _try(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _make_room(cache: Path, need: int, limit: int) -> bool:
    """Remove copies that nobody uses, the longest unused first, until `need` bytes more fit; none when that is in vain.

    A copy of which a killed process made only a part counts and goes like any other. What is not ours stays
    and does not count.
    """
    for gone in cache.glob(f"{_GONE}*/"):
        shutil.rmtree(gone)  # of a process killed while it removed
    names = {slot: _SLOT.fullmatch(slot.name) for slot in cache.iterdir() if slot.is_dir()}
    sizes = {slot: int(name[1]) for slot, name in names.items() if name}
    used = {slot: _used(slot) for slot in sizes}
    excess = sum(sizes.values()) + need - limit
    with ExitStack() as locks:
        free = []
        for slot in sorted(used, key=lambda slot: (used[slot], slot.name)):
            if excess <= 0:
                break
            lock = os.open(slot / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            locks.callback(os.close, lock)
            if _try(lock, fcntl.LOCK_EX):
                free.append(slot)
                excess -= sizes[slot]
        if excess > 0:
            return False
        for slot in free:
            _remove(slot)
    return True


def _touch(lock: int) -> None:
    now = time.time_ns()  # the kernel's own stamp is only as fine as its tick
    os.utime(lock, ns=(now, now))


def _used(slot: Path) -> int:
    """When it was last used, in nanoseconds; killed right after it was made: never."""
    return (slot / _LOCK).stat().st_mtime_ns if (slot / _LOCK).exists() else 0


def _remove(slot: Path) -> None:
    gone = slot.with_name(f"{_GONE}{uuid.uuid4().hex}")  # one rename: a kill leaves no copy with holes
    slot.rename(gone)
    shutil.rmtree(gone)


def _fetch(copy: _Copy, slot: Path) -> None:
    part, local = slot / _PART, pafs.LocalFileSystem()
    shutil.rmtree(part, ignore_errors=True)  # of a killed process

    def fetch(info: pafs.FileInfo) -> None:
        target = part / info.path[len(copy.top) :].lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        pafs.copy_files(
            info.path,
            target.as_posix(),
            source_filesystem=copy.fs,
            destination_filesystem=local,
            chunk_size=_CHUNK,
            use_threads=False,
        )
        if target.stat().st_size != info.size:
            raise WorkError(f"{shown(copy.source)} has changed while it was copied")

    try:
        with ThreadPoolExecutor(min(_THREADS, len(copy.infos))) as pool:
            list(pool.map(fetch, copy.infos))
        part.rename(slot / _WHOLE)
    except (pa.ArrowException, OSError) as error:
        raise WorkError(f"{shown(copy.source)} cannot be copied to {slot.parent} ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split())


def _size(n: int) -> str:
    return f"{n / 2**30:.3g} GiB" if n >= 2**29 else f"{n / 2**20:.3g} MiB"
