"""Archives of strangers: nothing leaves the folder, nothing is a link, and none grows beyond its bound."""

import errno
import gzip
import lzma
import shutil
import stat
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from raysweep.errors import WorkError
from raysweep.stand_in import stand_in
from raysweep.tasks.obtain.fetch import GivenUpError

_RATIO, _SMALL = 200, 2**30  # times the archive's bytes, and what even a tiny one may hold: masks shrink very well
_MOST_MEMBERS = 5_000_000
_PIECE = 2**20
_TEMPORARY = "unpacking"


@dataclass(frozen=True)
class _Member:
    name: str
    is_file: bool
    is_link: bool
    open: Callable[[], IO[bytes]]


def unpack(
    archive: Path, kind: str, target: Path, work: Path, *, most_bytes: int | None, tell: Callable[[int], None],
    stop: threading.Event,
) -> int:  # fmt: skip
    """Unpack into `target` and return the number of files; they appear there when all of them are whole.

    kind: zip, tar or gz (one compressed file). work: a folder of the same disk, for what is half done. most_bytes: that
    the archive may hold; None: 200 times its size, but 1 GiB at least. Files of the same names are replaced.
    Raises WorkError for a member that would lie outside, is a link or a device or is there twice, an archive that
    holds more than it may, is damaged or of another kind, and for a full disk; then `target` is as it was.
    """
    bound = most_bytes or max(_SMALL, _RATIO * archive.stat().st_size)
    half = work / _TEMPORARY / target.name / archive.name
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    try:
        with _told(archive):
            count = _extract(archive, kind, half, bound, tell, stop)
            _move(half, target)
    finally:
        shutil.rmtree(work / _TEMPORARY, ignore_errors=True)
    return count


@contextmanager
def _told(archive: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, gzip.BadGzipFile) as error:
        if instead := stand_in(archive):
            raise WorkError(f"{archive}: it is {instead}") from error
        said = " ".join(str(error).split())[:100]
        raise WorkError(f"{archive}: is damaged, or no such archive ({said}); remove it and get it anew") from error
    except (NotImplementedError, RuntimeError) as error:  # encrypted, or an unknown method
        raise WorkError(f"{archive}: cannot be unpacked ({error}); unpack it yourself") from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise WorkError(
                f"{archive}: no space is left on the disk for what it holds; the archive is kept: make room, then run "
                "the same command again"
            ) from error
        raise WorkError(f"{archive}: cannot be unpacked ({error.strerror or error})") from error


def _extract(
    archive: Path, kind: str, folder: Path, bound: int, tell: Callable[[int], None], stop: threading.Event
) -> int:
    written = count = 0
    members = {"zip": _zipped, "tar": _tarred, "gz": _compressed}[kind]
    for number, member in enumerate(members(archive)):
        path = folder / _inside(member, archive)
        if number >= _MOST_MEMBERS:
            raise WorkError(f"{archive}: holds more than {_MOST_MEMBERS:,} members; unpack it yourself if you trust it")
        if not member.is_file:
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            target = open(path, "xb")  # noqa: SIM115 - closed below
        except FileExistsError as error:
            raise WorkError(f"{archive}: holds {member.name} twice; unpack it yourself if you trust it") from error
        with target, member.open() as source:
            while piece := source.read(_PIECE):
                if stop.is_set():
                    raise GivenUpError
                written += len(piece)
                if written > bound:
                    raise WorkError(
                        f"{archive}: holds more than {bound:,} bytes in {archive.stat().st_size:,}, as a decompression "
                        "bomb does; unpack it yourself if you trust it, or say `unpacked` in the card"
                    )
                target.write(piece)
                tell(len(piece))
        count += 1
    if not count:
        raise WorkError(f"{archive}: holds no file; it is the archive of something else")
    return count


def _inside(member: _Member, archive: Path) -> PurePosixPath:
    """Where a member lies below the folder."""
    path = PurePosixPath(member.name.replace("\\", "/"))
    if (
        path.is_absolute()
        or ".." in path.parts
        or "\0" in member.name
        or (path.parts[:1] and path.parts[0].endswith(":"))
    ):
        raise WorkError(f"{archive}: its member {member.name!r} would lie outside of the folder; nothing is unpacked")
    if member.is_link:
        raise WorkError(
            f"{archive}: its member {member.name!r} is a link or a device; unpack it yourself if you trust it"
        )
    return path


def _zipped(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            mode = stat.S_IFMT(info.external_attr >> 16)
            odd = bool(mode) and mode not in (stat.S_IFREG, stat.S_IFDIR)
            yield _Member(info.filename, not info.is_dir(), odd, partial(opened.open, info))


def _tarred(archive: Path) -> Iterator[_Member]:
    with tarfile.open(archive) as opened:
        for info in opened:
            opened.members = []  # type: ignore[attr-defined]  # it would keep every one
            odd = not (info.isreg() or info.isdir())
            yield _Member(info.name, info.isreg(), odd, partial(_content, opened, info))


def _content(opened: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    stream = opened.extractfile(info)
    assert stream is not None  # a regular file has one
    return stream


def _compressed(archive: Path) -> Iterator[_Member]:
    yield _Member(archive.name[: -len(".gz")], True, False, partial(_decompressed, archive))


def _decompressed(archive: Path) -> IO[bytes]:
    return gzip.GzipFile(archive)  # type: ignore[return-value]  # it is one in all but name


def _move(source: Path, target: Path) -> None:
    """Move what a folder holds into another; folders that are there are joined, files replaced."""
    target.mkdir(parents=True, exist_ok=True)
    for entry in sorted(source.iterdir()):
        there = target / entry.name
        if entry.is_dir() and there.is_dir():
            _move(entry, there)
        else:
            entry.replace(there)
