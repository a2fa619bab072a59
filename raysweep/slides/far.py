"""Slides on object storage of which only what is needed is read: of TIFFs with JPEG tiles the tables and some tiles."""

import fcntl
import io
import os
import uuid
import weakref
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.fs as pafs

from raysweep.addresses import is_address, locate
from raysweep.errors import WorkError
from raysweep.local_path import own_temporary
from raysweep.retry import retried
from raysweep.slides.readers.jpeg_tiff import JpegTiffReader
from raysweep.slides.readers.open_tiff import every_page, open_tiff

_SUFFIXES = (".svs", ".tif", ".tiff", ".btf")
_BLOCK = 2**18  # bytes of a directory that are read at once
_HEAD_BYTES = 2**26  # of tables, at most: those of a million tiles are 12 MB
_GAP, _MOST = 2**15, 2**23  # bytes between tiles that are read with them; of a request
_AHEAD = 2**26  # bytes that are fetched before they are needed
_THREADS = 8
_LOOK_PX = 3072  # longest edge of the picture that a survey is made of
_LOOK_PART = 0.25  # of a file, at most, that a survey may read; else a copy costs less


def far_reader(source: str) -> JpegTiffReader | None:
    """What reads a slide on object storage by parts, if it is a TIFF for which that is cheaper than a copy; else None.

    Its tables are kept for the next call of this process. What is wrong with a slide is not told: who copies it will.
    """
    if not is_address(source):
        return None
    try:
        fs, inside = locate(source)
        if isinstance(fs, pafs.LocalFileSystem) or not inside.lower().endswith(_SUFFIXES):
            return None
        info = fs.get_file_info(inside)
        tiles = FarFile(fs, inside)
    except (pa.ArrowException, OSError):
        return None
    with ExitStack() as unused:
        unused.callback(tiles.close)
        try:
            reader = JpegTiffReader(_head(source, info.size, info.mtime_ns).path, tiles)
        except Exception:  # damaged, of another kind, or not to be reached any more
            return None
        if _look_bytes(reader) > _LOOK_PART * info.size:
            return None
        unused.pop_all()
    return reader


def _look_bytes(reader: JpegTiffReader) -> int:
    """Bytes of the level that a survey reads, of the finest that it may."""
    sizes = reader.level_sizes
    level = max((i for i, size in enumerate(sizes) if max(size) >= _LOOK_PX), key=lambda i: -max(sizes[i]), default=0)
    return reader.level_bytes(level)


class FarFile:
    """Bytes of an object. Those that are expected are fetched ahead, by threads and with their neighbours."""

    def __init__(self, fs: pafs.FileSystem, path: str) -> None:
        """Raises OSError when it cannot be opened."""
        self._file = fs.open_input_file(path)
        self._pool = ThreadPoolExecutor(_THREADS)
        self._requests: dict[int, _Request] = {}  # by the first byte of each span that is expected
        self._waiting: deque[_Request] = deque()
        self._held = 0

    def expect(self, spans: Iterable[tuple[int, int]]) -> None:
        """(first byte, bytes) of what will be read next, once each and in this order."""
        self._forget()
        sizes: dict[int, int] = {}  # tiles that look alike may be one, and end where each says
        for first, size in spans:
            sizes[first] = max(size, sizes.get(first, 0))
        turns = {first: turn for turn, first in enumerate(sizes)}
        requests: list[_Request] = []
        for first, size in sorted(sizes.items()):
            last = requests[-1] if requests else None
            if last is None or first > last.stop + _GAP or first + size - last.start > _MOST:
                requests.append(last := _Request(first, first))
            last.stop = max(last.stop, first + size)
            last.left += 1
            last.turn = min(last.turn, turns[first])
            self._requests[first] = last
        self._waiting = deque(sorted(requests, key=lambda request: request.turn))
        self._fetch()

    def read(self, first: int, size: int) -> bytes:
        """Raises OSError when it cannot be read."""
        request = self._requests.pop(first, None)
        if request is None:
            return self._read(first, size)
        data = self._begun(request).result()
        request.left -= 1
        if not request.left:
            self._held -= request.stop - request.start
            request.future = None
        self._fetch()
        return data[first - request.start : first - request.start + size]

    def close(self) -> None:
        self._forget()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._file.close()

    def _fetch(self) -> None:
        while self._waiting and self._held < _AHEAD:
            request = self._waiting.popleft()
            if request.left:
                self._begun(request)

    def _begun(self, request: "_Request") -> "Future[bytes]":
        if request.future is None:
            self._held += request.stop - request.start
            request.future = self._pool.submit(self._read, request.start, request.stop - request.start)
        return request.future

    def _read(self, first: int, size: int) -> bytes:
        return retried(lambda: self._file.read_at(size, first))

    def _forget(self) -> None:
        for request in {id(request): request for request in self._requests.values()}.values():
            if request.future is not None:
                request.future.cancel()
        self._requests, self._waiting, self._held = {}, deque(), 0


@dataclass
class _Request:
    """Bytes [start, stop) with `left` spans to be given yet, the first of them as number `turn`."""

    start: int
    stop: int
    left: int = 0
    turn: int = 2**62
    future: "Future[bytes] | None" = None


class _Head:
    """A file as long as the slide, with all of it but the pixels: what readers look at who only open it.

    It is locked while it is in use, so what a killed process has left is found, and removed by the next one.
    """

    def __init__(self) -> None:
        folder = own_temporary("heads")
        for left in folder.iterdir():
            with suppress(OSError), open(left, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink()
        self.path = folder / uuid.uuid4().hex
        self.file = open(self.path, "x+b")  # noqa: SIM115
        fcntl.flock(self.file, fcntl.LOCK_SH)
        weakref.finalize(self, self.path.unlink, missing_ok=True)


@lru_cache(4)
def _head(source: str, size: int, stamp: int) -> _Head:
    fs, inside = locate(source)
    with fs.open_input_file(inside) as far:
        head = _Head()
        seen: Any = _Seen(far, size, head.file)
        with open_tiff(Path(inside), seen) as tiff:
            for page in every_page(tiff):
                for tag in page.tags:
                    seen.have(tag.valueoffset, tag.valuebytecount)
        return head


class _Seen(io.RawIOBase):
    """A far file, every block of which that is read is written to a file that has holes elsewhere."""

    def __init__(self, far: Any, size: int, near: IO[bytes]) -> None:
        super().__init__()
        self._far, self._size, self._at, self._near = far, size, 0, near
        self._fetched = 0
        self._there = bytearray(-(-size // _BLOCK))
        near.truncate(size)

    def have(self, first: int, size: int) -> None:
        """Fetch the blocks that hold some bytes, unless they are there: neighbours in one request."""
        block, last = first // _BLOCK, -(-min(first + size, self._size) // _BLOCK)
        while block < last:
            end = block
            while end < last and not self._there[end]:
                end += 1
            if end > block:
                start, n = block * _BLOCK, min(end * _BLOCK, self._size) - block * _BLOCK
                self._fetched += n
                if self._fetched > _HEAD_BYTES:  # a tag can claim all of the file
                    raise WorkError(f"its tables take more than {_HEAD_BYTES:,} bytes")
                data = retried(lambda start=start, n=n: self._far.read_at(n, start))  # type: ignore[misc]
                os.pwrite(self._near.fileno(), data, start)
                self._there[block:end] = b"\1" * (end - block)
            block = end + 1

    def readinto(self, buffer: Any) -> int:
        n = max(0, min(len(buffer), self._size - self._at))
        self.have(self._at, n)
        buffer[:n] = os.pread(self._near.fileno(), n, self._at)
        self._at += n
        return n

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True
