"""What tiling has found out about each slide: the unit of resume, shared by the patch sets of a study."""

import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from raysweep.storage import Storage, fingerprint

OVERLAY = "overlay.jpg"
FORMAT = 4  # of the files in the spool: part of the fingerprint of a slide's folder
_DONE = "slide.json"  # written last
_RESCUES = ("slide_mpp", "max_upsample")  # keys that leave most slides as they are
_KIN = "kin"  # folder of the spool: where to look for a slide when one of those keys has changed


# x, y: the corner in level-0 pixels. left, top, right, bottom: what was read, in pixels of the level that is read.
# mpp: null where it is the patch set's; of patches whose edges differ, their own.
PIECE_SCHEMA = pa.schema([
    ("slide", pa.string()),
    ("x", pa.int32()),
    ("y", pa.int32()),
    ("left", pa.int32()),
    ("top", pa.int32()),
    ("right", pa.int32()),
    ("bottom", pa.int32()),
    ("mpp", pa.float64()),
    ("tissue", pa.float32()),
    ("key", pa.uint64()),
    ("label", pa.int32()),
    ("image", pa.binary()),
    ("mask", pa.binary()),
])  # fmt: skip
BOX = ("left", "top", "right", "bottom")
_ROWS = 32  # of a batch: a shard takes a run of keys out of a piece and should read little else
_ABOUT = b"piece"
_PIECE = ".arrow"


@dataclass(frozen=True)
class PieceFacts:
    """What a piece holds: patches, bytes of their pictures and masks, and how many were rejected, by reason."""

    rows: int
    bytes: int
    rejected: Mapping[str, int]


def write_piece(storage: Storage, rows: pa.Table, *parts: str, rejected: Mapping[str, int] | None = None) -> PieceFacts:
    """Write rows of `PIECE_SCHEMA` sorted by key, so that a range of keys can be read alone.

    An Arrow file, which is written and read with fewer copies than Parquet. It may be lost in a power cut until
    `SlideSpool.finish` has made it safe; `piece_facts` tells.
    """
    facts = PieceFacts(rows.num_rows, _payload(rows), dict(rejected or {}))
    about = {**asdict(facts), "starts": rows["key"].to_numpy()[::_ROWS].tolist()}
    schema = PIECE_SCHEMA.with_metadata({_ABOUT: json.dumps(about)})
    rows = rows.combine_chunks()
    size = pa.MockOutputStream()
    _write(rows, schema, size)
    data = pa.allocate_buffer(size.size())  # a stream that grows would take up to three times as much memory
    _write(rows, schema, pa.FixedSizeBufferWriter(data))
    storage.write_bytes(memoryview(data), *parts, durable=False)
    return facts


def _write(rows: pa.Table, schema: pa.Schema, sink: pa.NativeFile) -> None:
    with pa.ipc.new_file(sink, schema) as file:
        file.write_table(rows, max_chunksize=_ROWS)


def piece_facts(storage: Storage, *parts: str) -> PieceFacts | None:
    """What a piece holds; None when there is none, or not all of it."""
    if not storage.exists(*parts):
        return None
    try:
        about = _about(pa.ipc.open_file(storage.open_mapped(*parts)))
    except pa.ArrowInvalid:
        return None
    return PieceFacts(about["rows"], about["bytes"], about["rejected"])


def read_piece(
    storage: Storage, path: str, low: int = 0, high: int = 1 << 64, columns: Sequence[str] | None = None
) -> pa.Table:
    """The rows of a piece with low <= key < high; `path` is below the storage's folder.

    Of a file on disk they are not copied into memory. `columns` are read together with the key.
    """
    fields = None if columns is None else [PIECE_SCHEMA.get_field_index(name) for name in (*columns, "key")]
    file = pa.ipc.open_file(storage.open_mapped(path), options=pa.ipc.IpcReadOptions(included_fields=fields))
    starts = _about(file)["starts"]
    batches = [file.get_batch(n) for n in range(max(0, bisect_left(starts, low) - 1), bisect_left(starts, high))]
    rows = pa.Table.from_batches(batches, schema=file.schema).replace_schema_metadata(None)
    keys = rows["key"].to_numpy()
    start, stop = (bisect_left(keys, key) for key in (low, high))
    return rows.slice(start, stop - start)


def _payload(rows: pa.Table) -> int:
    return sum(pc.sum(pc.binary_length(rows[name])).as_py() or 0 for name in ("image", "mask"))


def _about(file: pa.ipc.RecordBatchFileReader) -> dict[str, Any]:
    return json.loads(file.schema.metadata[_ABOUT])


def piece_name(cut: int, places: bytes) -> str:
    """The file of one cut; a slide cut in another way does not take it for its own.

    `places` are those of the cut, see `Places.pack`.
    """
    return f"cut-{cut:05d}-{blake2b(places, digest_size=8).hexdigest()}{_PIECE}"


@dataclass(frozen=True)
class SlideSpool:
    """The folder of one slide's patches, `spool/<fingerprint>/`: an Arrow file per cut, then `slide.json`.

    The fingerprint covers all that the patches depend on, so a file that is there is right, whoever wrote it.
    `inputs` is what it covers.
    """

    folder: Storage
    inputs: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The folder's name below the spool."""
        return self.folder.root.rsplit("/", 1)[-1]

    @classmethod
    def below(cls, spool: Storage, inputs: dict[str, Any]) -> "SlideSpool":
        return cls(spool.at(fingerprint(inputs)[:16]), inputs)

    @classmethod
    def find(cls, spool: Storage, inputs: dict[str, Any]) -> "SlideSpool":
        """The slide's folder: its own, or one that was made with another `slide_mpp` or `max_upsample`, if the slide
        is complete there and these keys did not touch it: they are for slides without a scale, or of too coarse a one.
        """
        own = cls.below(spool, inputs)
        if own.folder.exists(_DONE) or not spool.exists(*_pointer(inputs)):
            return own
        known = spool.read_json(*_pointer(inputs))
        other = cls(spool.at(known["folder"]), inputs)
        same_scale = known["mpp_source"] != "study" or known["slide_mpp"] == inputs["slide_mpp"]
        same_limit = known["max_upsample"] == inputs["max_upsample"] or (
            known["enlarged"] is not None and known["enlarged"] <= inputs["max_upsample"]
        )
        return other if same_scale and same_limit and other.folder.exists(_DONE) else own

    def outcome(self) -> dict[str, Any] | None:
        """What `finish` wrote, or None when the slide is not complete."""
        return self.folder.read_json(_DONE) if self.folder.exists(_DONE) else None

    def finish(self, outcome: dict[str, Any]) -> None:
        """Mark the slide as complete, once its pieces are safe; pieces of another cut are removed."""
        pieces = {piece["path"].rpartition("/")[2] for piece in outcome["pieces"]}
        for name in self.folder.names():
            if name in pieces:
                self.folder.make_durable(name)
            elif name.endswith(_PIECE):
                self.folder.remove(name)
        self.folder.write_json(outcome, _DONE)
        survey = outcome["survey"] or {}
        by_box = self.inputs["labels"]["box"]  # then each patch has a scale of its own
        grid = survey.get("grid") if outcome["status"] == "done" and not by_box else None
        known = {
            "folder": self.name,
            "mpp_source": survey.get("mpp_source"),
            "enlarged": None if grid is None else max(1.0, 1 / grid["factor"]),
            **{key: self.inputs[key] for key in _RESCUES},
        }
        Storage(self.folder.fs, self.folder.root.rpartition("/")[0]).write_json(known, *_pointer(self.inputs))

    def discard(self) -> None:
        """Remove all that was kept of the slide."""
        self.folder.remove()


def complete_slides(spool: Storage) -> list[str]:
    """Names of the folders below the spool whose slides are complete."""
    return [info.path.split("/")[-2] for info in spool.infos(recursive=True) if info.base_name == _DONE]


def _pointer(inputs: Mapping[str, Any]) -> tuple[str, str]:
    return _KIN, f"{fingerprint({key: value for key, value in inputs.items() if key not in _RESCUES})[:16]}.json"
