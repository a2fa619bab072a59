"""Files of object storage that are read at places: each part is asked for until all of it has come."""

import errno
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

_MARKS = (0xA5, 0x5A)


class CheckedFile:
    """A file to be read by Arrow (`pyarrow.PythonFile`): a part that comes short is an error, which is tried again."""

    def __init__(self, fs: pafs.FileSystem, path: str, patiently: Callable[[Callable[[], Any]], Any]) -> None:
        """`patiently` calls what it is given, again where an error may be gone soon."""
        self._fs, self._path, self._patiently = fs, path, patiently
        self._file: pa.NativeFile | None = None
        self._size, self._at = -1, 0
        patiently(self._open)

    @property
    def closed(self) -> bool:
        return self._size < 0

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._size = None, -1

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, n: int = -1) -> bytes:
        left = max(0, self._size - self._at)
        size = left if n is None or n < 0 else min(n, left)
        data: bytes = self._patiently(lambda: self._part(size)) if size else b""
        self._at += size
        return data

    def _part(self, size: int) -> bytes:
        file = self._file or self._open()
        self._file = None  # where this fails it is opened again: it may have gone
        file.seek(self._at)
        data = read_whole(file, size)
        self._file = file
        return data

    def _open(self) -> pa.NativeFile:
        self._file = self._fs.open_input_file(self._path)
        size = self._file.size()
        if self._size not in (-1, size):
            raise OSError(f"{self._path}: was written anew while it was read")
        self._size = size
        return self._file


def read_whole(file: pa.NativeFile, size: int) -> bytes:
    """The next `size` bytes of a file of object storage. Raises OSError (EIO) where the last of them did not come.

    Arrow counts what was asked for, whatever came (`S3FileSystem`, 26.0). So the last byte of the room that it fills is
    set before: it is another one after, unless it did not come, or is that very byte, which a second reading tells.
    """
    start, data = file.tell(), bytearray(size)
    if not size:
        return b""
    for mark in _MARKS:
        file.seek(start)
        data[-1] = mark
        if file.readinto(data) == size and data[-1] != mark:
            return bytes(data)
    raise OSError(errno.EIO, f"not all of {size} bytes came")
