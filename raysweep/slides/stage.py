"""Slides on object storage, copied to a disk of the node for as long as they are read."""

import fcntl
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from raysweep.errors import WorkError
from raysweep.storage import fingerprint, is_address, locate, shown

_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 3600.0  # for space: slides in use are done with by then, or hold each other up for ever
_CHUNK = 2**23
_THREADS = 8  # of one slide's files
_LOCK, _PART, _WHOLE, _GONE = "lock", "part", "whole", ".gone-"


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
def staged(source: str, *, folder: Path | None = None, limit_bytes: int) -> Iterator[Path]:
    """Where to open a slide on this node: a local one where it is, one at an address as a copy in `folder`.

    A copy is made once for all processes of the node and kept until its space is needed: the copies together take at
    most `limit_bytes`, those longest unused go first, and none goes while a process is inside this context. Whoever
    finds the space taken by slides in use waits. What belongs to a slide comes with it: the folder of an .mrxs, the
    other .dcm files beside a .dcm, all files of a folder. A killed process leaves no lock and no half copy in use:
    locks are the kernel's (flock) and a copy appears by one rename.

    Args:
        source: an absolute path, or an address that `locate` understands.
        folder: where copies are kept; must be on a disk of this node. Default: below the folder of temporary files.
        limit_bytes: of all copies in `folder`.

    Raises WorkError when the slide does not exist, cannot be copied, or takes more than `limit_bytes`.
    """
    fs, inside = locate(source)
    if not is_address(source) or isinstance(fs, pafs.LocalFileSystem):
        yield Path(inside)
        return
    copy = _look(source, fs, inside)
    if copy.size > limit_bytes:
        raise WorkError(
            f"{shown(source)} takes {_size(copy.size)} and slides may take {_size(limit_bytes)} on the disk of a node; "
            "allow more"
        )
    cache = folder or Path(tempfile.gettempdir()) / f"raysweep-slides-{os.getuid()}"
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = _hold(cache, copy, limit_bytes)
    try:
        yield cache / copy.slot / _WHOLE / inside.rpartition("/")[2]
    finally:
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
        elif name.lower().endswith(".dcm"):
            infos = [i for i in fs.get_file_info(pafs.FileSelector(top)) if i.path.lower().endswith(".dcm")]
    except (pa.ArrowException, OSError) as error:
        raise WorkError(f"{shown(source)} cannot be reached ({_reason(error)})") from error
    files = sorted((i for i in infos if i.type == pafs.FileType.File), key=lambda i: i.path)
    if not files:
        raise WorkError(f"no such file: {shown(source)}")
    return _Copy(source, fs, top, files)


def _hold(cache: Path, copy: _Copy, limit: int) -> int:
    """The open lock file of a whole copy, locked against removal; copies it first when nobody has.

    A lock of a copy is only ever taken without waiting and under the lock of the cache, so none is waited for in a
    circle and none is taken of a copy that is being removed.
    """
    slot, patience = cache / copy.slot, time.monotonic() + _PATIENCE_SECONDS
    while True:
        with _locked(cache):
            has_space = slot.exists() or _make_room(cache, copy.size, limit)
            if has_space:
                slot.mkdir(exist_ok=True)
                lock = os.open(slot / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
                whole = (slot / _WHOLE).exists()
                if _try(lock, fcntl.LOCK_SH if whole else fcntl.LOCK_EX):
                    break
                os.close(lock)  # another process is copying it
        if not has_space and time.monotonic() > patience:
            raise WorkError(
                f"{shown(copy.source)} has waited {_PATIENCE_SECONDS / 60:.3g} minutes for {_size(copy.size)} on the "
                f"disk of a node, where slides in use take most of {_size(limit)}; allow more"
            )
        time.sleep(_POLL_SECONDS)
    try:
        if not whole:
            _fetch(copy, slot)
            with _locked(cache):  # going from one kind of lock to the other is not atomic
                _try(lock, fcntl.LOCK_SH)
        _touch(lock)
    except BaseException:
        with _locked(cache):
            if not (slot / _WHOLE).exists():
                _remove(slot)
        os.close(lock)
        raise
    return lock


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

    A copy of which a killed process made only a part counts and goes like any other.
    """
    for gone in cache.glob(f"{_GONE}*"):
        shutil.rmtree(gone)  # of a process killed while it removed
    used = {slot: _used(slot) for slot in cache.iterdir() if slot.is_dir()}
    sizes = {slot: int(slot.name.rpartition("-")[2]) for slot in used}
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
