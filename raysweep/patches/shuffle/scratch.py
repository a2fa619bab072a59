"""Rows between the passes of the shuffle: files that hold several ranges of keys, each readable by one request."""

from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from raysweep.patches.shuffle.spool import PIECE_SCHEMA
from raysweep.storage import Storage

_THREADS = 8  # readers in a task: waiting for storage, not computing


@dataclass(frozen=True)
class Range:
    """Some shards' patches: `folder`, below `storage`, holds them in files and nothing else.

    bounds: shards [bounds[0], bounds[-1]) in parts; part p is of the shards [bounds[p], bounds[p + 1]). sizes: bytes
    of each part in each file, uint32 (files, parts), in the order in which they lie there; a file of none is missing.
    """

    storage: Storage
    folder: str
    bounds: Sequence[int]
    sizes: np.ndarray

    def file(self, number: int) -> str:
        """The name of a file, below the storage's folder."""
        return f"{self.folder}/{number:06d}.arrows"

    def part(self, part: int, files: slice = slice(None)) -> "Fragments":
        """One part, of some of the files."""
        ends = np.cumsum(self.sizes[files], axis=1, dtype=np.int64)[:, part].tolist()
        sizes = self.sizes[files, part].tolist()
        numbers = range(len(self.sizes))[files]
        return Fragments(
            self.storage,
            [(self.file(n), end - size, size) for n, end, size in zip(numbers, ends, sizes, strict=True) if size],
        )

    def drop(self) -> None:
        """Remove the files, which are read no more."""
        self.storage.remove(self.folder)


@dataclass(frozen=True)
class Fragments:
    """Rows in parts of files: `spans` are (file below the storage's folder, first byte, bytes)."""

    storage: Storage
    spans: Sequence[tuple[str, int, int]]

    def rows(self) -> pa.Table:
        """All of them, of `PIECE_SCHEMA`; of files on disk they are not copied into memory."""
        with ThreadPoolExecutor(_THREADS) as pool:
            return pa.concat_tables([PIECE_SCHEMA.empty_table(), *pool.map(self._read, self.spans)])

    def _read(self, span: tuple[str, int, int]) -> pa.Table:
        path, start, size = span
        with self.storage.open_mapped(path) as file:
            file.seek(start)
            return pa.ipc.open_stream(file.read_buffer(size)).read_all()


def write_parts(storage: Storage, path: str, rows: pa.Table, cuts: Sequence[int]) -> list[int]:
    """Write the rows with cuts[0] <= key < cuts[-1] to a file, cut at `cuts`; returns the bytes of each part.

    `rows` are of `PIECE_SCHEMA` and sorted by key. Each part is an Arrow stream of its own. Without rows there is no
    file.
    """
    keys = rows["key"].to_numpy()
    bounds = [bisect_left(keys, cut) for cut in cuts]
    parts = [rows.slice(start, stop - start) for start, stop in pairwise(bounds)]
    sizes = []
    for part in parts:
        size = pa.MockOutputStream()
        _write(part, size)
        sizes.append(size.size())
    if any(sizes):
        data = pa.allocate_buffer(sum(sizes))  # a stream that grows would take up to three times as much memory
        sink = pa.FixedSizeBufferWriter(data)
        for part in parts:
            _write(part, sink)
        storage.write_bytes(memoryview(data), path)
    return sizes


def _write(rows: pa.Table, sink: pa.NativeFile) -> None:
    if rows.num_rows:
        with pa.ipc.new_stream(sink, PIECE_SCHEMA) as stream:
            stream.write_table(rows)
