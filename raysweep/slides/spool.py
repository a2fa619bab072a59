"""What tiling has found out about each slide: the unit of resume, shared by the patch sets of a study."""

import json
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raysweep.storage import Storage, fingerprint

OVERLAY = "overlay.jpg"
_DONE = "slide.json"  # written last


PIECE_SCHEMA = pa.schema([
    ("slide", pa.string()),
    ("x", pa.int32()),
    ("y", pa.int32()),
    ("tissue", pa.float32()),
    ("key", pa.uint64()),
    ("label", pa.int32()),
    ("image", pa.binary()),
    ("mask", pa.binary()),
])  # fmt: skip
_ROW_GROUP = 16  # rows: a shard takes a run of keys out of a piece and should read little else


def write_piece(storage: Storage, rows: pa.Table, *parts: str, about: Mapping[str, int] | None = None) -> None:
    """Write rows of `PIECE_SCHEMA` sorted by key, so that a range of keys can be read alone.

    `about` says how many patches were rejected, by reason.
    """
    rows = rows.replace_schema_metadata({"rejected": json.dumps(dict(about or {}))})
    storage.write_table(
        rows, *parts, row_group_size=_ROW_GROUP, compression="none", use_dictionary=["slide"], write_statistics=["key"]
    )


def read_piece_facts(storage: Storage, *parts: str) -> tuple[int, str]:
    """How many patches a piece holds, and how many were rejected by reason, as JSON."""
    with storage.fs.open_input_file(storage.path(*parts)) as file, pq.ParquetFile(file) as piece:
        return piece.metadata.num_rows, piece.schema_arrow.metadata[b"rejected"].decode()


def read_piece(storage: Storage, path: str, low: int, high: int) -> pa.Table:
    """The rows of a piece with low <= key < high; `path` is below the storage's folder."""
    with storage.fs.open_input_file(storage.path(path)) as file, pq.ParquetFile(file) as piece:
        column = piece.schema_arrow.get_field_index("key")
        groups = []
        for number in range(piece.num_row_groups):
            keys = piece.metadata.row_group(number).column(column).statistics
            if keys.max >= low and keys.min < high:
                groups.append(number)
        rows = piece.read_row_groups(groups)
    rows = rows.replace_schema_metadata(None)
    keys = rows["key"].to_numpy()
    start, stop = (bisect_left(keys, key) for key in (low, high))
    return rows.slice(start, stop - start)


def piece_name(region: int, regions: int) -> str:
    """The file of one of so many regions: a slide cut in another way does not take it for its own."""
    return f"region-{region:05d}-of-{regions:05d}.parquet"


@dataclass(frozen=True)
class SlideSpool:
    """The folder of one slide's patches, `spool/<fingerprint>/`: a Parquet file per region, then `slide.json`.

    The fingerprint covers all that the patches depend on, so a file that is there is right, whoever wrote it.
    """

    folder: Storage

    @property
    def name(self) -> str:
        """The folder's name below the spool."""
        return self.folder.root.rsplit("/", 1)[-1]

    @classmethod
    def below(cls, spool: Storage, inputs: dict[str, Any]) -> "SlideSpool":
        return cls(spool.at(fingerprint(inputs)[:16]))

    def outcome(self) -> dict[str, Any] | None:
        """What `finish` wrote, or None when the slide is not complete."""
        return self.folder.read_json(_DONE) if self.folder.exists(_DONE) else None

    def finish(self, outcome: dict[str, Any]) -> None:
        """Mark the slide as complete."""
        self.folder.write_json(outcome, _DONE)

    def discard(self) -> None:
        """Remove all that was kept of the slide."""
        self.folder.remove()
