"""Pieces of the spool, as the shuffle reads them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from raysweep.patches.shuffle.spool import PIECE_SCHEMA, read_piece
from raysweep.storage import Storage

_THREADS = 8  # readers in a task: waiting for storage, not computing
_END = 1 << 64


@dataclass(frozen=True)
class Piece:
    """An Arrow file of patches sorted by key; `path` is below the root of the spool.

    `bytes` are those of pictures and masks alone: however slides were cut into pieces, their sum is the same.
    """

    path: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class Pieces:
    """The patches of some pieces with low <= key < high."""

    storage: Storage
    pieces: Sequence[Piece]
    low: int = 0
    high: int = _END

    def rows(self) -> pa.Table:
        """All of them, of `PIECE_SCHEMA`; of files on disk they are not copied into memory."""
        with ThreadPoolExecutor(_THREADS) as pool:
            tables = list(
                pool.map(lambda piece: read_piece(self.storage, piece.path, self.low, self.high), self.pieces)
            )
        return pa.concat_tables([PIECE_SCHEMA.empty_table(), *tables])
