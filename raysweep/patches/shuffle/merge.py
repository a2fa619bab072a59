"""Pieces of the spool to shuffled shards: the second pass of the shuffle, as Ray tasks.

Every piece is sorted by key, and a shard is a range of keys, so a task reads its range out of every piece and writes
the shard. Pieces times shards are too many reads for large sets: their patches are gathered first, see `divide`.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray

from raysweep.patches.schema import patch_schema
from raysweep.patches.shuffle.divide import divide
from raysweep.patches.shuffle.parallel import in_parallel
from raysweep.patches.shuffle.pieces import Piece, Pieces
from raysweep.patches.shuffle.scratch import Fragments, Range
from raysweep.patches.write import Shard, read_shard, shard_count, shard_edges, write_shard
from raysweep.storage import Storage, fingerprint

_SHARDS_AT_ONCE = 16  # that may read from the same pieces
_PASSES = 2  # of the files in the scratch folder, which a run of another version may have left
_PLAN, _SCRATCH = "merge.json", "merge"
_END = 1 << 64
_PNG = b"\x89PNG"


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

    What an earlier, killed call has finished for the same pieces is kept. Shards and the scratch folder together are at
    most an eighth more than the pieces themselves, for what is read no more goes at once.
    Raises WorkError when something cannot be written.
    """
    size = sum(piece.bytes for piece in pieces)
    count = shard_count(sum(piece.rows for piece in pieces), size)
    edges = [int(edge) for edge in shard_edges(count)] + [_END]
    _begin(folder, {"pieces": [vars(piece) for piece in pieces], "facts": {n: vars(f) for n, f in facts.items()},
                    "classes": list(classes), "shards": count, "passes": _PASSES})  # fmt: skip
    common = ray.put((dict(facts), list(classes)))
    ranges: list[Range] = []
    sources: Iterable[tuple[int, int, Pieces | Fragments]]
    if count > _SHARDS_AT_ONCE:
        ranges = divide(spool, pieces, edges, folder.at(_SCRATCH), workers)
        sources = ((r, ranges[r].bounds[p], ranges[r].part(p)) for r in range(len(ranges)) for p in _parts(ranges[r]))
    else:
        sources = ((0, i, Pieces(spool, pieces, low, high)) for i, (low, high) in enumerate(pairwise(edges)))
    calls = ((of, folder, index, count, source, common) for of, index, source in sources)
    left = Counter({of: len(_parts(part)) for of, part in enumerate(ranges)})
    shards = []
    for of, shard in in_parallel(_merge_shard, calls, workers, "writing shards", data_bytes=size // count):
        report(shard)
        shards.append(shard)
        left[of] -= 1
        if ranges and not left[of]:
            ranges[of].drop()
    folder.remove(_SCRATCH)
    return sorted(shards, key=lambda shard: shard.name)


def _parts(part: Range) -> range:
    return range(len(part.bounds) - 1)


def _begin(folder: Storage, plan: dict[str, Any]) -> None:
    """Throw away what another plan has left: slides may have failed then that do not now."""
    plan = {"fingerprint": fingerprint(plan)}
    if not (folder.exists(_PLAN) and folder.read_json(_PLAN) == plan):
        folder.remove("shards")
        folder.remove(_SCRATCH)
        folder.write_json(plan, _PLAN)


def _merge_shard(
    of: int, folder: Storage, index: int, count: int, source: Pieces | Fragments, common: tuple[dict, list[str]]
) -> tuple[int, Shard]:
    there = read_shard(folder, index, count)  # of a run that was killed
    if there is not None:
        return of, there
    return of, write_shard(folder, index, count, _full_rows(source.rows(), *common))


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
