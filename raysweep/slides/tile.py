"""Slides to a patch set."""

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from raysweep.errors import WorkError
from raysweep.patches.write import write_index
from raysweep.progress import Progress, Stage
from raysweep.slides.inputs import spool_inputs
from raysweep.slides.merge import Piece, SlideFacts, merge
from raysweep.slides.pipeline import SlideTask, read_slides_into
from raysweep.slides.spec import CHROMA, KERNEL, PatchSetSpec
from raysweep.slides.splits import deal_splits
from raysweep.slides.spool import OVERLAY, SlideSpool, piece_name
from raysweep.slides.table import SlideEntry
from raysweep.storage import Artefact, Storage

_THREADS = 16  # small files that are read and copied at once

_TABLE = pa.schema([
    ("slide", pa.string()), ("path", pa.string()), ("patient", pa.string()), ("site", pa.string()),
    ("label", pa.string()), ("split", pa.string()), ("status", pa.string()), ("reason", pa.string()),
    ("mpp", pa.float64()), ("mpp_source", pa.string()), ("width", pa.int64()), ("height", pa.int64()),
    ("level", pa.int32()), ("factor", pa.float64()), ("n_tissue", pa.int64()), ("n_patches", pa.int64()),
    ("tissue_area_um2", pa.float64()), ("overlay", pa.string()), ("tile_seconds", pa.float64()),
])  # fmt: skip


def tile(
    spec: PatchSetSpec,
    slides: Sequence[SlideEntry],
    artefact: Artefact,
    spool: Storage,
    *,
    seed: int,
    workers: int | None,
    progress: Progress,
) -> pa.Table:
    """Cut slides into patches and write them, shuffled, as a patch set; returns its slide table.

    Args:
        spec: how to cut.
        slides: which slides, in any order.
        artefact: where to; its inputs are `patch_set_inputs(spec, slides, seed)`.
        spool: folder of what is known of single slides; a slide that is in it is not read again.
        seed: of the shuffle, the cap and the splits.
        workers: at most so many CPUs at once; None: all that Ray has. The result does not depend on it.
        progress: where to show.

    Ray must be running. A slide that cannot be read is a row with the status `failed` and its reason, one that has
    nothing to give is `skipped`. Raises WorkError when no slide gives a patch or something cannot be written.
    """
    name = artefact.home.root.rsplit("/", 1)[-1]
    folder = artefact.folder
    slides = sorted(slides, key=lambda slide: slide.name)
    started = time.monotonic()
    outcomes = _read_all(name, spec, slides, artefact.inputs, spool, seed=seed, workers=workers, progress=progress)
    tile_seconds = time.monotonic() - started

    splits = deal_splits(slides, spec.split, seed)
    table = _slide_table(slides, outcomes, splits)
    _copy_overlays(spool, folder, outcomes)
    folder.write_table(table, "slides.parquet")
    done = [slide for slide in slides if outcomes[slide.name]["status"] == "done"]
    if not done:
        first = min(table.to_pylist(), key=lambda row: (row["status"] != "failed", row["slide"]))
        raise WorkError(f"no slide of patch set {name} could be tiled: {first['slide']}: {first['reason']}")

    classes = sorted({slide.label for slide in slides if slide.label is not None})
    pieces = [Piece(**piece) for slide in done for piece in outcomes[slide.name]["pieces"]]
    facts = {
        slide.name: SlideFacts(
            patient=slide.patient,
            label=None if slide.label is None else classes.index(slide.label),
            split=splits[slide.name],
            source_mpp=outcomes[slide.name]["survey"]["mpp"],
        )
        for slide in done
    }
    started = time.monotonic()
    with progress.stage(f"shuffle {name}", None, "shards") as stage:
        shards = merge(
            folder,
            spool,
            pieces,
            facts,
            mpp=spec.mpp,
            classes=classes,
            workers=workers,
            report=lambda shard: stage.advance(patches=shard.rows),
        )
    write_index(folder, shards, classes)
    statuses = table["status"].to_pylist()
    artefact.commit(
        config={**spec.model_dump(mode="json"), "mpp": spec.mpp, "kernel": KERNEL, "chroma": CHROMA},
        counts={
            "slides": len(slides),
            **{status: statuses.count(status) for status in ("done", "failed", "skipped")},
            "patches": sum(shard.rows for shard in shards),
            "shards": len(shards),
            "bytes": sum(shard.bytes for shard in shards),
        },
        timings={"tile_seconds": tile_seconds, "merge_seconds": time.monotonic() - started},
    )
    return table


def _read_all(
    name: str,
    spec: PatchSetSpec,
    slides: Sequence[SlideEntry],
    inputs: Mapping[str, Any],
    spool: Storage,
    *,
    seed: int,
    workers: int | None,
    progress: Progress,
) -> dict[str, dict[str, Any]]:
    """The outcome of every slide by name, from the spool or by reading it."""
    identified = {entry["name"]: entry for entry in inputs["slides"]}
    folders = {
        slide.name: SlideSpool.below(spool, spool_inputs(spec, identified[slide.name], seed))
        for slide in slides
        if "identity" in identified[slide.name]
    }
    with ThreadPoolExecutor(_THREADS) as pool:
        known = dict(zip(folders, pool.map(SlideSpool.outcome, folders.values()), strict=True))
    outcomes = {slide: outcome for slide, outcome in known.items() if outcome is not None}
    with progress.stage(f"tile {name}", len(slides), "slides") as stage:
        stage.advance(len(outcomes))
        for slide in slides:
            if slide.name not in folders:
                outcomes[slide.name] = _failed(f"the file is missing or cannot be read: {slide.given or slide.path}")
                _show(stage, slide.name, outcomes[slide.name])
        todo = [SlideTask(slide, folders[slide.name].name) for slide in slides if slide.name not in outcomes]
        if todo:
            results = read_slides_into(spool, todo, spec, seed=seed, workers=workers)
            for slide_name, outcome in _gather(results, folders, stage):
                outcomes[slide_name] = outcome
                _show(stage, slide_name, outcome)
    return outcomes


def _gather(
    results: Iterable[dict[str, Any]], folders: Mapping[str, SlideSpool], stage: Stage
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each slide and its outcome as soon as all its regions are read; what is not failed is kept in the spool."""
    regions: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    failed = set()
    for result in results:
        slide, number = result["slide"], result["region"]
        if slide in failed:
            continue
        if number not in regions[slide]:
            stage.advance(0, patches=result["patches"])
        regions[slide][number] = result
        if result["error"] is not None:
            failed.add(slide)
            yield slide, _failed(result["error"])
            continue
        survey = json.loads(result["survey"])
        if len(regions[slide]) == max(1, survey["regions"]):
            outcome = _outcome(survey, regions.pop(slide), folders[slide].name)
            folders[slide].finish(outcome)
            yield slide, outcome
    for slide in failed:  # only now: other regions of the slide may have been under way
        folders[slide].discard()


def _outcome(survey: dict[str, Any], regions: Mapping[int, dict[str, Any]], folder: str) -> dict[str, Any]:
    pieces = [
        {"path": f"{folder}/{piece_name(number)}", "rows": result["patches"], "bytes": result["bytes"]}
        for number, result in sorted(regions.items())
        if number >= 0
    ]
    return {
        "status": "skipped" if survey["reason"] else "done",
        "reason": survey["reason"],
        "survey": survey,
        "folder": folder,
        "pieces": pieces,
        "tile_seconds": sum(result["seconds"] for result in regions.values()),
    }


def _failed(reason: str) -> dict[str, Any]:
    return {"status": "failed", "reason": reason, "survey": None, "folder": None, "pieces": [], "tile_seconds": 0.0}


def _show(stage: Stage, slide: str, outcome: dict[str, Any]) -> None:
    status = outcome["status"]
    stage.advance(1, **({} if status == "done" else {status: 1}))
    if status != "done":
        stage.note(f"{slide}: {status} ({outcome['reason']})")


def _overlay_path(slide: str) -> str:
    return f"overlays/{quote(slide, safe=' ')}.jpg"


def _copy_overlays(spool: Storage, folder: Storage, outcomes: Mapping[str, dict[str, Any]]) -> None:
    def copy(slide: str) -> None:
        folder.write_bytes(spool.read_bytes(outcomes[slide]["folder"], OVERLAY), _overlay_path(slide))

    drawn = [slide for slide, outcome in outcomes.items() if outcome["survey"] and outcome["survey"]["overlay"]]
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(copy, drawn))


def _slide_table(
    slides: Sequence[SlideEntry], outcomes: Mapping[str, dict[str, Any]], splits: Mapping[str, str]
) -> pa.Table:
    rows = []
    for slide in slides:
        outcome = outcomes[slide.name]
        survey = outcome["survey"] or {}
        grid = survey.get("grid") or {}
        width, height = survey.get("size", (None, None))
        rows.append({
            "slide": slide.name,
            "path": slide.given or slide.path,
            "patient": slide.patient,
            "site": slide.site,
            "label": slide.label,
            "split": splits[slide.name],
            "status": outcome["status"],
            "reason": outcome["reason"],
            "mpp": survey.get("mpp"),
            "mpp_source": survey.get("mpp_source"),
            "width": width,
            "height": height,
            "level": grid.get("level"),
            "factor": grid.get("factor"),
            "n_tissue": survey.get("n_tissue", 0),
            "n_patches": sum(piece["rows"] for piece in outcome["pieces"]),
            "tissue_area_um2": survey.get("tissue_area_um2"),
            "overlay": _overlay_path(slide.name) if survey.get("overlay") else None,
            "tile_seconds": outcome["tile_seconds"],
        })  # fmt: skip
    return pa.Table.from_pylist(rows, schema=_TABLE)
