"""A radix partition: the spool's patches in files of few shards each, where slides times shards are too many reads.

A first pass reads each piece of the spool once, in groups that fit in memory, and writes 16 files for each group, each
with a sixteenth of the keys. Where shards are still too many to read their patches out of those, a second pass gathers
them again, from 16 ranges of the keys in each of these files, and so on. So the files of a pass are as many as the
bytes, and as soon as a sixteenth has been read it is removed: at its peak the scratch folder holds each patch once,
and a sixteenth twice.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from raysweep.patches.shuffle.parallel import in_parallel
from raysweep.patches.shuffle.pieces import Piece, Pieces
from raysweep.patches.shuffle.scratch import Fragments, Range, write_parts
from raysweep.storage import Storage

_WAYS = 16  # files that a task of the first pass writes; the peak of the scratch folder is 1 + 1 / 16
_PARTS = 16  # of a file that is read by another pass
_GROUP_BYTES = 512 * 10**6  # that a task holds in memory
_FRAGMENT_BYTES = 10**6  # worth a request


@dataclass(frozen=True)
class _Job:
    """Files [start, stop) of part `part` of the range `of` go into file `number` of each of the ranges `into`."""

    of: int
    part: int
    start: int
    stop: int
    into: Sequence[int]
    number: int


def divide(
    spool: Storage, pieces: Sequence[Piece], edges: Sequence[int], scratch: Storage, workers: int | None
) -> list[Range]:
    """The patches of the pieces, below `scratch`, in ranges each part of which is one shard; in order.

    `edges` are the lowest keys of all shards, and 2**64. What a killed call has written for the same pieces is kept.
    Raises WorkError when something cannot be written.
    """
    shards = len(edges) - 1
    jobs = [_Job(0, 0, start, stop, range(min(_WAYS, shards)), number)
            for number, (start, stop) in enumerate(_groups([piece.bytes for piece in pieces]))]  # fmt: skip
    most = max(_PARTS, _GROUP_BYTES // _WAYS // _FRAGMENT_BYTES)
    bounds = [_cut(first, last, most) for first, last in pairwise(_evenly(0, shards, _WAYS))]
    level = 0
    made = _pass(level, jobs, spool, pieces, [], _ranges(level, bounds, jobs, scratch), edges, scratch, workers)
    while any(len(part.bounds) <= part.bounds[-1] - part.bounds[0] for part in made):
        level += 1
        old, jobs, bounds = made, [], []
        for of, part in enumerate(old):
            for index, (first, last) in enumerate(pairwise(part.bounds)):
                groups = _groups(part.sizes[:, index].tolist())
                jobs += [_Job(of, index, *group, [len(bounds)], number) for number, group in enumerate(groups)]
                bounds.append(_cut(first, last, max(_PARTS, _GROUP_BYTES // _FRAGMENT_BYTES)))
        made = _pass(level, jobs, spool, pieces, old, _ranges(level, bounds, jobs, scratch), edges, scratch, workers)
    return made


def _ranges(level: int, bounds: Sequence[Sequence[int]], jobs: Sequence[_Job], scratch: Storage) -> list[Range]:
    files = Counter(way for job in jobs for way in job.into)
    return [
        Range(scratch, f"{level}/{of[0]:06d}-{of[-1]:06d}", of, np.zeros((files[way], len(of) - 1), np.uint32))
        for way, of in enumerate(bounds)
    ]


def _pass(
    level: int,
    jobs: Sequence[_Job],
    spool: Storage,
    pieces: Sequence[Piece],
    old: Sequence[Range],
    new: list[Range],
    edges: Sequence[int],
    scratch: Storage,
    workers: int | None,
) -> list[Range]:
    """Do all jobs in one pool of tasks; `new` ranges are filled, `old` ones go when they have been read."""

    def source(job: _Job) -> Pieces | Fragments:
        if level == 0:
            return Pieces(spool, pieces[job.start : job.stop])
        return old[job.of].part(job.part, slice(job.start, job.stop))

    calls = (
        (index, source(job), scratch, f"notes/{level}-{index:06d}.json",
         [(new[way].file(job.number), [edges[bound] for bound in new[way].bounds]) for way in job.into])
        for index, job in enumerate(jobs)
    )  # fmt: skip
    held = min(_GROUP_BYTES, sum(piece.bytes for piece in pieces))
    left = Counter(job.of for job in jobs)
    for index, sizes in in_parallel(_divide, calls, workers, "writing shards", data_bytes=held):
        job = jobs[index]
        for way, parts in zip(job.into, sizes, strict=True):
            new[way].sizes[job.number] = parts
        left[job.of] -= 1
        if old and not left[job.of]:
            old[job.of].drop()
    return new


def _divide(
    index: int, source: Pieces | Fragments, scratch: Storage, note: str, files: Sequence[tuple[str, Sequence[int]]]
) -> tuple[int, list[list[int]]]:
    """Write rows into files, each cut at its keys; a note of their sizes comes last, so that it is not done again."""
    if scratch.exists(note):
        return index, scratch.read_json(note)
    rows = source.rows().sort_by("key")
    sizes = [write_parts(scratch, path, rows, cuts) for path, cuts in files]
    scratch.write_json(sizes, note)
    return index, sizes


def _groups(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs (first, last exclusive) of as many bytes as a task may hold, or of one that is more."""
    start, held = 0, 0
    for index, size in enumerate(sizes):
        if index > start and held + size > _GROUP_BYTES:
            yield start, index
            start, held = index, 0
        held += size
    yield start, len(sizes)


def _evenly(first: int, last: int, parts: int) -> list[int]:
    parts = min(parts, last - first)
    return [first + (last - first) * i // parts for i in range(parts + 1)]


def _cut(first: int, last: int, most: int) -> list[int]:
    """The parts of a file: single shards where these are few enough, else what another pass reads."""
    return _evenly(first, last, last - first if last - first <= most else _PARTS)
