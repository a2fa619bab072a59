"""Pieces of the spool to shuffled shards: the second pass of the shuffle, as Ray tasks.

Every piece is sorted by key, and a shard is a range of keys, so a task reads its range out of every piece and writes
the shard. Pieces times shards are too many reads for large sets: then ranges of many shards are gathered first
(a radix partition), until each holds few enough shards.
"""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray

from raysweep.patches.schema import patch_schema
from raysweep.patches.shuffle.parallel import in_parallel
from raysweep.patches.shuffle.spool import PIECE_SCHEMA, read_piece, write_piece
from raysweep.patches.write import Shard, read_shard, shard_count, shard_edges, write_shard
from raysweep.storage import Storage, fingerprint

_SHARDS_AT_ONCE = 16  # that may read from the same pieces
_RANGES_AT_ONCE = 256  # that a partition writes
_GROUP_BYTES = 512 * 10**6  # of pieces that a partition holds in memory
_THREADS = 8  # readers of pieces in a task: waiting for storage, not computing
_PLAN, _SCRATCH = "merge.json", "merge"
_END = 1 << 64
_PNG = b"\x89PNG"


@dataclass(frozen=True)
class Piece:
    """An Arrow file of patches sorted by key; `path` is below the root of the spool or of the scratch folder.

    `bytes` are those of pictures and masks alone: however slides were cut into pieces, their sum is the same.
    """

    path: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class SlideFacts:
    """What the rows of a slide have in common; `label` and `mpp` are those of rows that have none of their own.

    split: None where no split is stored. mpp, source_mpp: None where unknown, which is NaN in the rows.
    """

    patient: str | None
    label: int | None
    split: str | None
    mpp: float | None
    source_mpp: float | None


@dataclass(frozen=True)
class _Range:
    """Shards [first, last) and the pieces that hold their patches; `folder`, if there is one, holds nothing else."""

    first: int
    last: int
    storage: Storage
    pieces: list[Piece]
    folder: str | None = None

    def drop(self) -> None:
        """Remove the pieces, which are read no more, unless they are the spool's."""
        if self.folder is not None:
            self.storage.remove(self.folder)


def merge(
    folder: Storage,
    spool: Storage,
    pieces: Sequence[Piece],
    facts: Mapping[str, SlideFacts],
    *,
    classes: Sequence[str],
    workers: int | None,
    report: Callable[[Shard], None],
) -> list[Shard]:
    """Write all shards below a patch set's folder; `facts` are by slide name. `report` is called for each shard.

    What an earlier, killed call has finished for the same pieces is kept. The scratch folder holds each patch once, and
    what is read no more goes at once, so shards and scratch together are little more than the pieces themselves.
    Raises WorkError when something cannot be written.
    """
    count = shard_count(sum(piece.rows for piece in pieces), sum(piece.bytes for piece in pieces))
    edges = [int(edge) for edge in shard_edges(count)] + [_END]
    _begin(folder, {"pieces": [vars(piece) for piece in pieces], "facts": {n: vars(f) for n, f in facts.items()},
                    "classes": list(classes), "shards": count})  # fmt: skip
    ranges = [_Range(0, count, spool, list(pieces))]
    while max(part.last - part.first for part in ranges) > _SHARDS_AT_ONCE:
        ranges = _partition(ranges, edges, folder.at(_SCRATCH), workers)
    common = ray.put((dict(facts), list(classes)))
    calls: list[tuple[Any, ...]] = []
    for number, part in enumerate(ranges):
        held = ray.put(part)
        calls += [
            (number, folder, index, count, edges[index], edges[index + 1], held, common)
            for index in range(part.first, part.last)
        ]
    left = Counter(call[0] for call in calls)
    shards = []
    for number, shard in in_parallel(_merge_shard, calls, workers, "writing shards"):
        report(shard)
        shards.append(shard)
        left[number] -= 1
        if not left[number]:
            ranges[number].drop()
    folder.remove(_SCRATCH)
    return sorted(shards, key=lambda shard: shard.name)


def _begin(folder: Storage, plan: dict[str, Any]) -> None:
    """Throw away what another plan has left: slides may have failed then that do not now."""
    plan = {"fingerprint": fingerprint(plan)}
    if not (folder.exists(_PLAN) and folder.read_json(_PLAN) == plan):
        folder.remove("shards")
        folder.remove(_SCRATCH)
        folder.write_json(plan, _PLAN)


def _merge_shard(
    number: int, folder: Storage, index: int, count: int, low: int, high: int, part: _Range,
    common: tuple[dict, list[str]],
) -> tuple[int, Shard]:  # fmt: skip
    there = read_shard(folder, index, count)  # of a run that was killed
    if there is not None:
        return number, there
    rows = _full_rows(_read(part.storage, part.pieces, low, high), *common)
    return number, write_shard(folder, index, count, rows)


def _read(storage: Storage, pieces: Sequence[Piece], low: int, high: int) -> pa.Table:
    with ThreadPoolExecutor(_THREADS) as pool:
        tables = list(pool.map(lambda piece: read_piece(storage, piece.path, low, high), pieces))
    return pa.concat_tables([PIECE_SCHEMA.empty_table(), *tables])


def _full_rows(rows: pa.Table, facts: Mapping[str, SlideFacts], classes: Sequence[str]) -> pa.Table:
    """Rows of a piece with the columns that all patches of a slide share."""
    schema = patch_schema(classes)
    slides = rows["slide"].to_pylist()
    of = [facts[slide] for slide in slides]
    image = rows["image"].combine_chunks()
    image = image if isinstance(image, pa.Array) else pa.concat_arrays(image.chunks)
    columns = {
        "image": pa.StructArray.from_arrays([image, _file_names(rows)], names=["bytes", "path"]),
        "slide": rows["slide"],
        "patient": pa.array([fact.patient for fact in of], pa.string()),
        "x": rows["x"],
        "y": rows["y"],
        "mpp": pc.coalesce(rows["mpp"], _scales([fact.mpp for fact in of])),
        "source_mpp": _scales([fact.source_mpp for fact in of]),
        "tissue": rows["tissue"],
        "label": pc.coalesce(rows["label"], pa.array([fact.label for fact in of], pa.int32())),
        "mask": rows["mask"],
        "split": pa.array([fact.split for fact in of], pa.string()),
        "key": rows["key"],
    }
    return pa.table(columns).replace_schema_metadata(schema.metadata)


def _scales(mpps: Sequence[float | None]) -> pa.Array:
    return pa.array([math.nan if mpp is None else mpp for mpp in mpps], pa.float64())


def _file_names(rows: pa.Table) -> pa.Array:
    """What is unlike in each patch of a set: slide and corner, and the edge where patches have their own."""
    edge = pc.if_else(pc.is_valid(rows["mpp"]), pc.subtract(rows["right"], rows["left"]), None)
    numbers = [column.cast(pa.string()) for column in (rows["x"], rows["y"], edge)]
    names = pc.binary_join_element_wise(rows["slide"], *numbers, "_", null_handling="skip")
    endings = pc.if_else(pc.equal(pc.binary_slice(rows["image"], 0, len(_PNG)), _PNG), ".png", ".jpg")
    return pc.binary_join_element_wise(names, endings, "").combine_chunks()


def _partition(ranges: Sequence[_Range], edges: Sequence[int], scratch: Storage, workers: int | None) -> list[_Range]:
    """The same patches as ranges of fewer shards, each new one with its own pieces in the scratch folder.

    All ranges are one pool of tasks.
    """
    bounds, calls = [], []
    fine = [part for part in ranges if part.last - part.first <= _SHARDS_AT_ONCE]
    ranges = [part for part in ranges if part.last - part.first > _SHARDS_AT_ONCE]
    for number, part in enumerate(ranges):
        n = part.last - part.first
        ways = min(_RANGES_AT_ONCE, -(-n // _SHARDS_AT_ONCE))
        bounds.append([part.first + n * i // ways for i in range(ways + 1)])
        cuts = [edges[bound] for bound in bounds[-1]]
        calls += [
            (number, part.storage, group, cuts, scratch, _name(part), f"{n_group:05d}")
            for n_group, group in enumerate(_groups(part.pieces))
        ]
    left = Counter(call[0] for call in calls)
    parts: list[list[list[Piece]]] = [[[] for _ in edges_of[1:]] for edges_of in bounds]
    for number, written in in_parallel(_partition_group, calls, workers, "writing shards"):
        for way, piece in written:
            parts[number][way].append(piece)
        left[number] -= 1
        if not left[number]:
            ranges[number].drop()
    return fine + [
        _Range(first, last, scratch, sorted(pieces, key=lambda piece: piece.path), f"{_name(part)}/{way:03d}")
        for part, edges_of, of_range in zip(ranges, bounds, parts, strict=True)
        for way, ((first, last), pieces) in enumerate(zip(pairwise(edges_of), of_range, strict=True))
    ]


def _name(part: _Range) -> str:
    return f"{part.first:05d}-{part.last:05d}"


def _groups(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    group: list[Piece] = []
    size = 0
    for piece in pieces:
        if group and size + piece.bytes > _GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(piece)
        size += piece.bytes
    yield group


def _partition_group(
    number: int, storage: Storage, group: Sequence[Piece], cuts: Sequence[int], scratch: Storage, name: str, which: str
) -> tuple[int, list[tuple[int, Piece]]]:
    """The pieces of a group, divided; a note of them is written last, so that they are not made again."""
    note = (f"{name}-{which}.json",)
    if scratch.exists(*note):
        return number, [(way, Piece(**piece)) for way, piece in scratch.read_json(*note)]
    rows = _read(storage, group, cuts[0], cuts[-1]).sort_by("key")
    keys = rows["key"].to_numpy()
    bounds = [bisect_left(keys, cut) for cut in cuts]
    written = []
    for way, (start, stop) in enumerate(pairwise(bounds)):
        if start == stop:
            continue
        some = rows.slice(start, stop - start)
        path = f"{name}/{way:03d}/{which}.arrow"
        facts = write_piece(scratch, some, path)
        scratch.make_durable(path)
        written.append((way, Piece(path, facts.rows, facts.bytes)))
    scratch.write_json([(way, vars(piece)) for way, piece in written], *note)
    return number, written
