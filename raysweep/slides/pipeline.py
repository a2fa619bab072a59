"""Slides to spooled patches, spread over the cluster by Ray Data: slides -> cuts -> pieces in the spool.

Slides that are copied to the node that reads them are read by one task each, where that saves copies.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray

from raysweep.errors import reason_of
from raysweep.patches.shuffle.attempts import attempt
from raysweep.patches.shuffle.parallel import node_memory
from raysweep.patches.shuffle.spool import OVERLAY, PieceFacts, piece_facts, piece_name, write_piece
from raysweep.patches.shuffle.stream import stream
from raysweep.retry import retried
from raysweep.slides.grid import Grid
from raysweep.slides.overlay import draw_survey
from raysweep.slides.places import Places
from raysweep.slides.sidecars import Sidecars
from raysweep.slides.slide import Slide
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.survey import Survey, survey
from raysweep.slides.table.entries import SlideEntry
from raysweep.slides.tissue.find import NotBrightfield
from raysweep.storage import Storage

if TYPE_CHECKING:
    from raysweep.slides.cut import Cut

_CUTS_PER_TASK = 2
_WAVE, _SLIDES_PER_CPU = 1000, 8  # slides of a pipeline, at least: Ray Data keeps some 50 kB of each until it ends
_READER_BYTES, _CUT_BYTES_PER_PX = 500 * 10**6, 2.0

_TASK = pa.schema([("entry", pa.string()), ("folder", pa.string())])
_CUT = pa.schema([
    *_TASK, ("cut", pa.int32()), ("cuts", pa.int32()), ("places", pa.binary()), ("survey", pa.string()),
    ("error", pa.string()), ("seconds", pa.float64()),
])  # fmt: skip
_RESULT = pa.schema([
    ("slide", pa.string()), ("cut", pa.int32()), ("piece", pa.string()), ("patches", pa.int64()),
    ("bytes", pa.int64()), ("rejected", pa.string()), ("survey", pa.string()), ("error", pa.string()),
    ("seconds", pa.float64()),
])  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """What a worker and a node may hold. They change nothing of the result.

    cut_mpx: megapixels of patches that a worker reads before it writes them: its memory. fetch_gb: gigabytes of
    slides from object storage that are kept on the disk of a node.
    """

    cut_mpx: int = 128
    fetch_gb: float = 50.0

    @property
    def fetch_bytes(self) -> int:
        return int(self.fetch_gb * 1e9)


@dataclass(frozen=True)
class Cutting:
    """How slides are cut: the same for all slides of a patch set."""

    spec: PatchSetSpec
    classes: tuple[str, ...]  # names of the labels by id
    seed: int
    copy: bool  # the slides' own JPEG tiles are stored
    limits: Limits


@dataclass(frozen=True)
class SlideTask:
    """A slide to be read and the name of its folder in the spool; one_pass: by one task, see `read_in_one_pass`."""

    entry: SlideEntry
    folder: str
    one_pass: bool = False


def read_slides_into(
    spool: Storage,
    tasks: Sequence[SlideTask],
    cutting: Cutting,
    *,
    workers: int | None,
    tell: Callable[[str], None],
) -> Iterator[dict[str, Any]]:
    """Read slides into the spool; yields a result for each cut, or one for a slide without cuts, as they come.

    A result holds `slide`, `cut` (-1: none), `piece` (its file below the spool), `patches`, `bytes`, `rejected`
    (JSON: patches by reason), `survey` (JSON, see `_facts`), `error` and `seconds`; `survey` or `error` is null. A
    damaged slide gives an error, and so does one that kills its readers. `tell` shows a line of its own.

    Raises WorkError when patches cannot be written.
    """
    how: dict[str, Any] = {"spool": spool, "cutting": cutting, "run": uuid.uuid4().hex}
    step = partial(_step, memory=node_memory(_READER_BYTES + cutting.limits.cut_mpx * 2**20 * _CUT_BYTES_PER_PX))

    def spread(slides: ray.data.Dataset) -> ray.data.Dataset:
        cuts = slides.map_batches(partial(_survey_slides, **how), batch_size=None, batch_format="pyarrow")
        # A few cuts a task, so that a large slide spreads over workers, which wait a fifth of a second between
        # two tasks; Ray would fuse all three steps if not strict.
        cuts = cuts.repartition(target_num_rows_per_block=_CUTS_PER_TASK, strict=True)
        return step(cuts, partial(_read_cuts, **how))

    def whole(slides: ray.data.Dataset) -> ray.data.Dataset:
        return step(slides, partial(_read_slides, **how))

    wave = max(_WAVE, _SLIDES_PER_CPU * (workers or int(ray.cluster_resources().get("CPU", 1))))
    for pipeline, one_pass in ((spread, False), (whole, True)):
        chosen = [task for task in tasks if task.one_pass == one_pass]
        for start in range(0, len(chosen), wave):
            build = partial(_on_slides, pipeline, chosen[start : start + wave])
            yield from stream(build, workers=workers, doing="tiling", tell=tell)


def _on_slides(
    pipeline: Callable[[ray.data.Dataset], ray.data.Dataset], tasks: Sequence[SlideTask]
) -> ray.data.Dataset:
    rows = [{"entry": json.dumps(asdict(task.entry)), "folder": task.folder} for task in tasks]
    return pipeline(ray.data.from_arrow([pa.Table.from_pylist([row], schema=_TASK) for row in rows]))


def _step(rows: ray.data.Dataset, function: Callable[[pa.Table], Iterator[pa.Table]], memory: int) -> ray.data.Dataset:
    return rows.map_batches(function, batch_size=None, batch_format="pyarrow", memory=memory or None)


def _survey_slides(batch: pa.Table, spool: Storage, cutting: Cutting, run: str) -> Iterator[pa.Table]:
    """Rows of `_CUT` for rows of `_TASK`: one for each cut, or one that says why there is none."""
    for task in batch.to_pylist():
        for row in _surveyed(task, spool, cutting, run)[0]:
            yield _rows(_CUT, [row])


def _read_cuts(batch: pa.Table, spool: Storage, cutting: Cutting, run: str) -> Iterator[pa.Table]:
    """Rows of `_RESULT` for rows of `_CUT`; the patches go into the spool."""
    for row in batch.to_pylist():
        yield _rows(_RESULT, [_read(row, spool, cutting, run)])


def _read_slides(batch: pa.Table, spool: Storage, cutting: Cutting, run: str) -> Iterator[pa.Table]:
    """Rows of `_RESULT` for rows of `_TASK`: a slide stays here until all of it is read, or a part cannot be."""
    for task in batch.to_pylist():
        with ExitStack() as until_read:
            rows, here = _surveyed(task, spool, cutting, run, until_read)
            for row in rows:
                result = _read(row, spool, cutting, run, here)
                yield _rows(_RESULT, [result])
                if result["error"] is not None:
                    break


def _surveyed(
    task: dict[str, Any], spool: Storage, cutting: Cutting, run: str, hold: ExitStack | None = None
) -> tuple[list[dict[str, Any]], Sidecars | None]:
    """Rows of `_CUT`, and the slide that was copied to this node, where it stays until `hold` ends; else None."""
    started = time.monotonic()
    found, unfit, here = None, None, None
    entry = SlideEntry(**json.loads(task["entry"]))
    with attempt(spool.at(task["folder"]), run, "survey", "slide") as reason:
        if reason is None:
            try:
                if hold is not None:
                    here = retried(partial(_here, entry, cutting, hold))
                found = retried(partial(_survey_slide, entry, cutting, here))
            except NotBrightfield as error:
                unfit = str(error)
            except Exception as error:  # whatever it is, it concerns this slide alone
                reason = reason_of(error)
        if found is not None and found.thumbnail is not None:
            spool.write_bytes(draw_survey(found), task["folder"], OVERLAY)
    facts = json.dumps(_facts(found)) if found else None
    if unfit is not None:
        facts = json.dumps({"reason": unfit, "dropped": {}, "cuts": 0, "places": 0, "overlay": False})
    row = {**task, "cut": -1, "cuts": 0, "survey": facts, "error": reason, "seconds": time.monotonic() - started}
    if found is None or not found.cuts:
        return [row], here
    row["cuts"] = len(found.cuts)
    rows = [{**row, "cut": number, "places": places.pack()} for number, places in enumerate(found.cuts)]
    return [rows[0], *({**row, "seconds": 0.0} for row in rows[1:])], here  # the survey counts once


def _here(entry: SlideEntry, cutting: Cutting, hold: ExitStack) -> Sidecars | None:
    """The slide on this node until `hold` ends; None where it is read from afar, by parts."""
    sidecars = hold.enter_context(_sidecars(entry, cutting))
    return None if sidecars.reader else sidecars


def _sidecars(entry: SlideEntry, cutting: Cutting) -> AbstractContextManager[Sidecars]:
    return Sidecars.of(entry, cutting.limits.fetch_bytes, by_parts=cutting.spec.reader == "auto")


@contextmanager
def _opened(entry: SlideEntry, cutting: Cutting, here: Sidecars | None) -> Iterator[tuple[Sidecars, Slide]]:
    with ExitStack() as stack:
        sidecars = here or stack.enter_context(_sidecars(entry, cutting))
        yield sidecars, stack.enter_context(sidecars.slide(cutting.spec))


def _survey_slide(entry: SlideEntry, cutting: Cutting, here: Sidecars | None) -> Survey:
    with _opened(entry, cutting, here) as (sidecars, slide):
        return survey(slide, sidecars, cutting.spec, cutting.classes, cutting.seed, cut_mpx=cutting.limits.cut_mpx)


def _read_cut(entry: SlideEntry, row: dict[str, Any], cutting: Cutting, here: Sidecars | None) -> "Cut":
    from raysweep.slides.cut import read_cut  # brings torch: a process that only surveys does without

    spec, grid = cutting.spec, Grid(**json.loads(row["survey"])["grid"])
    with _opened(entry, cutting, here) as (sidecars, slide), sidecars.mask_patches(slide, spec) as mask:
        return read_cut(
            slide, entry.name, Places.unpack(row["places"]), grid, spec, cutting.seed,
            stain=entry.stain, copy=cutting.copy, mask=mask,
        )  # fmt: skip


def _read(
    row: dict[str, Any], spool: Storage, cutting: Cutting, run: str, here: Sidecars | None = None
) -> dict[str, Any]:
    """A row of `_RESULT` for one of `_CUT`; the patches go into the spool. `here`: the slide, where it is held."""
    started = time.monotonic()
    entry = SlideEntry(**json.loads(row["entry"]))
    reason, facts, piece = row["error"], PieceFacts(0, 0, {}), ("", "")
    if row["cut"] >= 0:
        piece = (row["folder"], piece_name(row["cut"], row["places"]))
        known = piece_facts(spool, *piece)
        if known is not None:  # it was written before the program was killed
            facts = known
        else:
            with attempt(spool.at(row["folder"]), run, piece[1], "slide") as reason:
                cut = None
                if reason is None:
                    try:
                        cut = retried(partial(_read_cut, entry, row, cutting, here))
                    except Exception as error:
                        reason = reason_of(error)
                if cut is not None:
                    facts = write_piece(spool, cut.rows, *piece, rejected=cut.rejected)
    result = {"slide": entry.name, "cut": row["cut"], "piece": "/".join(piece)}
    result |= {"patches": facts.rows, "bytes": facts.bytes}
    result |= {"rejected": json.dumps(facts.rejected), "survey": row["survey"], "error": reason}
    return {**result, "seconds": row["seconds"] + time.monotonic() - started}


def _facts(found: Survey) -> dict[str, Any]:
    """A survey without its pixels and cells: what the slide table and the readers of cuts need."""
    return {
        "size": found.size,
        "mpp": found.mpp,
        "mpp_source": found.mpp_source,
        "reader": found.reader,
        "icc": found.icc,
        "origin": found.origin,
        "dropped": found.dropped,
        "reason": found.reason,
        "grid": asdict(found.grid) if found.grid else None,
        "n_tissue": found.n_tissue,
        "tissue_area_um2": found.tissue_area_um2,
        "cuts": len(found.cuts),
        "places": sum(map(len, found.cuts)),
        "overlay": found.thumbnail is not None,
    }


def _rows(schema: pa.Schema, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema)
