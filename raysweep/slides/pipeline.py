"""Slides to spooled patches, spread over the cluster by Ray Data: slides -> regions -> pieces in the spool."""

import json
import logging
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from ray.data import DataContext, ExecutionResources
from ray.exceptions import RayError, RayTaskError

from raysweep.errors import WorkError, reason_of
from raysweep.slides.grid import Grid
from raysweep.slides.overlay import draw_overlay
from raysweep.slides.slide import Slide
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.spool import OVERLAY, piece_name, write_piece
from raysweep.slides.survey import Cells, Survey, survey
from raysweep.slides.table import SlideEntry
from raysweep.storage import Storage

_TRIES = 3
_CELL = np.dtype([("column", "<i4"), ("row", "<i4"), ("tissue", "<f4")])

_TASK = pa.schema([
    ("slide", pa.string()), ("path", pa.string()), ("mpp", pa.float64()), ("folder", pa.string()),
])  # fmt: skip
_REGION = pa.schema([
    *_TASK, ("region", pa.int32()), ("cells", pa.binary()), ("survey", pa.string()), ("error", pa.string()),
    ("seconds", pa.float64()),
])  # fmt: skip
_RESULT = pa.schema([
    ("slide", pa.string()), ("region", pa.int32()), ("patches", pa.int64()), ("bytes", pa.int64()),
    ("survey", pa.string()), ("error", pa.string()), ("seconds", pa.float64()),
])  # fmt: skip


@dataclass(frozen=True)
class SlideTask:
    """A slide to be read and the name of its folder in the spool."""

    entry: SlideEntry
    folder: str


def read_slides_into(
    spool: Storage, tasks: Sequence[SlideTask], spec: PatchSetSpec, *, seed: int, workers: int | None
) -> Iterator[dict[str, Any]]:
    """Read slides into the spool; yields a result for each region, or one for a slide without regions, as they come.

    A result holds `slide`, `region` (-1: none), `patches`, `bytes`, `survey` (JSON, see `_facts`), `error` and
    `seconds`; `survey` or `error` is null. A damaged slide gives an error, and so does one that kills its readers.

    Raises WorkError when patches cannot be written.
    """
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    if workers is not None:
        context.execution_options.resource_limits = ExecutionResources(cpu=workers)
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it reports every start and end of a pipeline
    rows = [
        {"slide": task.entry.name, "path": task.entry.path, "mpp": task.entry.mpp, "folder": task.folder}
        for task in tasks
    ]
    how: dict[str, Any] = {"spool": spool, "spec": spec, "seed": seed, "run": uuid.uuid4().hex}
    look, read = partial(_survey_slides, **how), partial(_read_regions, **how)
    try:
        with DataContext.current(context):
            slides = ray.data.from_arrow([pa.Table.from_pylist([row], schema=_TASK) for row in rows])
            regions = slides.map_batches(look, batch_size=None, batch_format="pyarrow")
            # A region a task, so that a large slide spreads over workers; Ray would fuse all three steps if not strict.
            regions = regions.repartition(target_num_rows_per_block=1, strict=True)
            results = regions.map_batches(read, batch_size=None, batch_format="pyarrow")
        yield from results.iter_rows()
    except RayTaskError as error:  # not the slides' fault: that was caught in the task
        raise WorkError(f"tiling stopped: {reason_of(error.cause or error)}") from error
    except RayError as error:
        raise WorkError(f"tiling stopped: {reason_of(error)}") from error


def _survey_slides(batch: pa.Table, spool: Storage, spec: PatchSetSpec, seed: int, run: str) -> Iterator[pa.Table]:
    """Rows of `_REGION` for rows of `_TASK`: one for each region, or one that says why there is none."""
    for task in batch.to_pylist():
        started = time.monotonic()
        found = None
        with _attempt(run, task["folder"]) as reason:
            if reason is None:
                try:
                    with Slide(task["path"], task["mpp"]) as slide:
                        found = survey(slide, task["slide"], spec, seed)
                except Exception as error:  # whatever it is, it concerns this slide alone
                    reason = reason_of(error)
            if found is not None and found.thumbnail is not None:
                spool.write_bytes(draw_overlay(found), task["folder"], OVERLAY)
        facts = json.dumps(_facts(found)) if found else None
        row = {**task, "region": -1, "survey": facts, "error": reason, "seconds": time.monotonic() - started}
        regions = found.regions if found else []
        for number, cells in enumerate(regions):
            yield _rows(_REGION, [{**row, "region": number, "cells": _pack(cells)}])
            row["seconds"] = 0.0  # the survey counts once
        if not regions:
            yield _rows(_REGION, [row])


def _read_regions(batch: pa.Table, spool: Storage, spec: PatchSetSpec, seed: int, run: str) -> Iterator[pa.Table]:
    """Rows of `_RESULT` for rows of `_REGION`; the patches go into the spool."""
    from raysweep.slides.region import read_region  # brings torch: a process that only surveys does without

    for row in batch.to_pylist():
        started = time.monotonic()
        reason, patches, size = row["error"], 0, 0
        if row["region"] >= 0:
            cells = _unpack(row["cells"])
            piece = (row["folder"], piece_name(row["region"]))
            if not spool.exists(*piece):  # else it was written before the program was killed
                with _attempt(run, "-".join(piece)) as reason:
                    rows = None
                    if reason is None:
                        try:
                            grid = Grid(**json.loads(row["survey"])["grid"])
                            with Slide(row["path"], row["mpp"]) as slide:
                                rows = read_region(slide, row["slide"], cells, grid, spec, seed)
                        except Exception as error:
                            reason = reason_of(error)
                    if rows is not None:
                        write_piece(spool, rows, *piece)
            if reason is None:
                patches, size = len(cells), spool.size(*piece)
        result = {"slide": row["slide"], "region": row["region"], "patches": patches, "bytes": size}
        seconds = row["seconds"] + time.monotonic() - started
        yield _rows(_RESULT, [{**result, "survey": row["survey"], "error": reason, "seconds": seconds}])


@contextmanager
def _attempt(run: str, work: str) -> Iterator[str | None]:
    """Count, on this node, how often the process has died while it did a piece of work.

    Ray Data repeats a task whose worker died for ever, so a slide that kills its reader would never end. Gives None, or
    the reason why it is not to be tried again.
    """
    tries = Path(tempfile.gettempdir()) / f"raysweep-{run}-{work}.tries"
    died = tries.stat().st_size if tries.exists() else 0
    with tries.open("a") as file:
        file.write(".")
    try:
        yield f"the process that read this slide died {died} times" if died >= _TRIES else None
    finally:
        tries.unlink(missing_ok=True)


def _facts(found: Survey) -> dict[str, Any]:
    """A survey without its pixels and cells: what the slide table and the readers of regions need."""
    return {
        "size": found.size,
        "mpp": found.mpp,
        "mpp_source": found.mpp_source,
        "reason": found.reason,
        "grid": asdict(found.grid) if found.grid else None,
        "n_tissue": found.n_tissue,
        "tissue_area_um2": found.tissue_area_um2,
        "regions": len(found.regions),
        "overlay": found.thumbnail is not None,
    }


def _rows(schema: pa.Schema, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema)


def _pack(cells: Cells) -> bytes:
    packed = np.empty(len(cells), _CELL)
    packed["column"], packed["row"], packed["tissue"] = cells.columns, cells.rows, cells.tissue
    return packed.tobytes()


def _unpack(data: bytes) -> Cells:
    cells = np.frombuffer(data, _CELL)
    return Cells(*(np.ascontiguousarray(cells[name]) for name in ("column", "row", "tissue")))
