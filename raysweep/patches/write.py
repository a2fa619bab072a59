"""Patch rows to Parquet shards: globally shuffled by key, the same bytes whoever writes them."""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raysweep.errors import RequestError
from raysweep.json_file import mapping
from raysweep.patches.outcomes import SLIDES
from raysweep.patches.schema import classes_of, patch_schema
from raysweep.storage import MANIFEST, Artefact, Storage, fingerprint

ROW_GROUP = 128  # rows: small, so that training can read row groups in random order
SHARD_BYTES = 256 * 10**6
SHARD_PATCHES = 2**16
INDEX = "shards.json"

_WORDS = ["slide", "patient", "split"]
_COMPRESSION = {
    "image.bytes": "none",  # JPEG does not shrink
    **dict.fromkeys(
        ["image.path", "slide", "patient", "x", "y", "mpp", "source_mpp", "tissue", "label", "mask", "split", "key"],
        "zstd",
    ),
}


@dataclass(frozen=True)
class Shard:
    """One Parquet file of a patch set; `hash` is of all its bytes (blake2b, 128 bits).

    usable: of each row group, the rows that training may use: those whose split is `train` or null. labelled: of
    these, the ones with a label.
    """

    name: str
    rows: int
    bytes: int
    hash: str
    usable: tuple[int, ...]
    labelled: tuple[int, ...]


def shard_count(patches: int, size: int) -> int:
    """How many shards hold `patches` patches of `size` bytes together; at least 1."""
    return max(1, -(-size // SHARD_BYTES), -(-patches // SHARD_PATCHES))


def shard_edges(count: int) -> np.ndarray:
    """The lowest key of each shard, uint64 (count,): a key's shard is `key * count >> 64`."""
    return np.array([-((-index << 64) // count) for index in range(count)], dtype=np.uint64)


def shard_name(index: int, count: int) -> str:
    return f"{index:05d}-of-{count:05d}.parquet"


def write_shard(folder: Storage, index: int, count: int, rows: pa.Table) -> Shard:
    """Write shard `index` of `count` below a patch set's folder.

    `rows` has the columns of `patch_schema` in any order of rows; plain strings may stand for dictionaries. They are
    written in (key, slide, x, y) order. Equal rows give equal bytes.
    """
    schema = patch_schema(classes_of(rows.schema))
    rows = rows.select(schema.names)
    order = pc.sort_indices(
        pa.table({"key": rows["key"], "slide": rows["slide"].cast(pa.string()), "x": rows["x"], "y": rows["y"]}),
        sort_keys=[(name, "ascending") for name in ("key", "slide", "x", "y")],
    )
    if not np.array_equal(order, np.arange(len(order))):
        rows = rows.take(order)
    rows = rows.combine_chunks()
    for name in _WORDS:  # a dictionary in the order of the rows: that of the pieces would depend on who made them
        words = rows[name].cast(pa.string()).combine_chunks().dictionary_encode()
        rows = rows.set_column(rows.schema.get_field_index(name), name, words)
    rows = rows.cast(schema)
    name = shard_name(index, count)
    sink = pa.BufferOutputStream()
    pq.write_table(
        rows,
        sink,
        row_group_size=ROW_GROUP,
        compression=_COMPRESSION,
        use_dictionary=[*_WORDS, "mpp", "source_mpp", "label"],
        write_statistics=["slide", "label", "split", "key"],
    )
    data = memoryview(sink.getvalue())
    folder.write_bytes(data, "shards", name)
    return Shard(name, rows.num_rows, len(data), blake2b(data, digest_size=16).hexdigest(), *count_usable(rows))


def read_shard(folder: Storage, index: int, count: int) -> Shard | None:
    """A shard that is there already; None when there is none, or not all of it."""
    name = shard_name(index, count)
    if not folder.exists("shards", name):
        return None
    with suppress(pa.ArrowException, OSError), folder.open_file("shards", name) as file:
        rows = pq.read_table(file, columns=["split", "label"])
        file.seek(0)
        digest = hashlib.file_digest(file, lambda: blake2b(digest_size=16))
        return Shard(name, rows.num_rows, file.size(), digest.hexdigest(), *count_usable(rows))
    return None


def count_usable(rows: pa.Table) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The `usable` and `labelled` rows of each row group of a shard, from its columns `split` and `label`."""
    split = rows["split"].cast(pa.string())
    usable = pc.or_kleene(pc.is_null(split), pc.equal(split, "train")).to_numpy()
    labelled = usable & pc.is_valid(rows["label"]).to_numpy()
    starts = np.arange(0, rows.num_rows, ROW_GROUP)
    first, second = (np.add.reduceat(some.astype(np.int64), starts).tolist() for some in (usable, labelled))
    return tuple(first), tuple(second)


def contents(folder: Storage) -> str:
    """What a complete patch set holds, for the fingerprints of what is made from it: the bytes of its shards.

    Not how it came to be: an export, a slide that was skipped for another reason or a key that touched no patch make
    another patch set, and the same contents. Raises RequestError for a set whose shards have no hash.
    """
    config = folder.read_json(MANIFEST)["config"]
    index = mapping(folder.read_json(INDEX), folder.path(INDEX), "shards")
    if not all("hash" in shard for shard in index["shards"]):
        raise RequestError(f"patch set {folder.root}: was made by an older raysweep; tile its slides again")
    shards = [[shard["rows"], shard["hash"]] for shard in index["shards"]]
    return fingerprint({"px": config["px"], "um": config["um"], "classes": index["classes"], "shards": shards})


def write_index(folder: Storage, shards: Sequence[Shard], classes: Sequence[str]) -> None:
    """Write the list of shards, from which a reader knows every row group without opening a shard.

    Counts of row groups are words of one line each: there may be a million of them.
    """
    entries = [{**asdict(shard), "usable": _line(shard.usable), "labelled": _line(shard.labelled)} for shard in shards]
    folder.write_json({"classes": list(classes), "shards": entries}, INDEX)


def _line(counts: Sequence[int]) -> str:
    return " ".join(map(str, counts))


def write_patch_set(artefact: Artefact, rows: pa.Table, *, config: Mapping[str, Any], shards: int = 1) -> None:
    """Make a complete patch set of rows that fit in memory.

    `config` needs `um` and `px` (edge of a patch). The slide table names every slide of the rows as done.
    """
    keys = rows["key"].to_numpy()
    owner = np.searchsorted(shard_edges(shards), keys, side="right") - 1
    written = [write_shard(artefact.folder, i, shards, rows.filter(pa.array(owner == i))) for i in range(shards)]
    write_index(artefact.folder, written, classes_of(rows.schema))
    counts = pc.value_counts(rows["slide"].cast(pa.string())).to_pylist()
    slides = sorted((item["values"], item["counts"]) for item in counts)
    artefact.folder.write_table(
        pa.table({
            "slide": [name for name, _ in slides],
            "status": ["done"] * len(slides),
            "n_patches": pa.array([n for _, n in slides], pa.int64()),
        }),
        SLIDES,
    )  # fmt: skip
    artefact.commit(
        config=dict(config),
        counts={"slides": len(slides), "done": len(slides), "failed": 0, "skipped": 0, "patches": rows.num_rows,
                "shards": shards, "bytes": sum(shard.bytes for shard in written)},
        timings={},
    )  # fmt: skip
