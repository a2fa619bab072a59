"""Slides to a patch set."""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from raysweep.errors import WorkError
from raysweep.patches.shuffle.merge import Piece, SlideFacts, merge
from raysweep.patches.shuffle.spool import SlideSpool
from raysweep.patches.write import shard_count, write_index
from raysweep.progress import Progress, Stage
from raysweep.slides.exports import export_places
from raysweep.slides.inputs import spool_inputs
from raysweep.slides.labels.classes import classes_of, label_of_slide, mask_classes_of
from raysweep.slides.meter import Meter
from raysweep.slides.outcomes import WRITTEN, same_outcomes, slide_table, with_reasons, words_of
from raysweep.slides.overlay import draw_overlays
from raysweep.slides.pipeline import Cutting, Limits, SlideTask, read_slides_into
from raysweep.slides.scale import Scale, native_scale
from raysweep.slides.spec import CHROMA, KERNEL, PatchSetSpec
from raysweep.slides.table.columns import deal_splits
from raysweep.slides.table.entries import SlideEntry
from raysweep.storage import MANIFEST, Artefact, Storage

_THREADS = 16  # small files that are read at once
_NAMED = 5  # slides that one sentence names


class NothingTiled(WorkError):
    """No slide gave a patch: there is no patch set, but its table of slides says why."""


def tile(
    spec: PatchSetSpec,
    slides: Sequence[SlideEntry],
    artefact: Artefact,
    spool: Storage,
    *,
    seed: int,
    workers: int | None,
    progress: Progress,
    limits: Limits = Limits(),
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
        limits: what a worker and a node may hold. The result does not depend on them.

    Ray must be running. A slide that cannot be read is a row with the status `failed` and its reason, one that has
    nothing to give is `skipped`. In a patch set that is complete the slides that failed are read again; it stays as
    it is until one of them gives another outcome, and exports are written beside it. Raises NothingTiled when no
    slide gives a patch, and WorkError when something cannot be written.
    """
    name = artefact.home.root.rsplit("/", 1)[-1]
    folder = artefact.folder
    slides = sorted(slides, key=lambda slide: slide.name)
    classes = classes_of(spec.labels, [slide.label for slide in slides if slide.label is not None])
    started = time.monotonic()
    scale = native_scale(spec, slides, artefact.inputs, spool, workers, limits.fetch_bytes, progress)
    cutting = Cutting(spec, tuple(classes), seed, scale.copy, limits)
    outcomes = _read_all(name, cutting, slides, artefact.inputs, spool, scale, workers=workers, progress=progress)
    tile_seconds = time.monotonic() - started

    mpp = spec.patch_mpp or scale.mpp
    config = {
        **spec.model_dump(mode="json", exclude={"slides", "root", "where", "coords", "export"}),
        "mpp": mpp,
        "um": None if mpp is None else mpp * spec.px,
        "classes": classes,
        "mask_classes": mask_classes_of(spec.labels),
        "kernel": "none: the slides' own JPEG tiles" if scale.copy else KERNEL,
        "chroma": "the slides' own" if scale.copy else CHROMA,
    }
    done = [slide for slide in slides if outcomes[slide.name]["status"] == "done"]
    table = folder.read_table("slides.parquet") if artefact.done() else None
    same = table is not None and artefact.manifest()["config"] == config and same_outcomes(table, outcomes)
    if not same:
        folder.remove(MANIFEST)  # before anything of it changes
        folder.remove(WRITTEN)
    missing = export_places(spec, folder, spool, {s.name: outcomes[s.name] for s in done}, classes, workers)
    for slide, reason in list(missing.items())[:1]:
        progress.say(f"{name}: {len(missing)} of {len(done)} slides lack an export, which the column export_missing of "
                     f"slides.parquet tells, such as {slide}: {reason}")  # fmt: skip
    if same and table is not None:
        table = with_reasons(table, outcomes, missing)
        folder.write_table(table, "slides.parquet")
        return table

    splits = deal_splits(slides, spec.split, seed, spec.split_by, spec.split_within)
    table = slide_table(slides, outcomes, splits, missing)
    with progress.stage(f"draw {name}", len(table) - table["overlay"].null_count, "slides") as stage:
        for _ in draw_overlays(folder, spool, outcomes, workers):
            stage.advance()
    folder.write_table(table, "slides.parquet")
    if not done:
        raise NothingTiled(f"no slide of patch set {name} could be tiled: {_ends(table)}")

    pieces = [Piece(**piece) for slide in done for piece in outcomes[slide.name]["pieces"]]
    facts = {
        slide.name: SlideFacts(
            patient=slide.patient,
            label=label_of_slide(spec.labels, slide.label, classes),
            split=splits[slide.name],
            mpp=spec.patch_mpp or outcomes[slide.name]["survey"]["mpp"],
            source_mpp=outcomes[slide.name]["survey"]["mpp"],
        )
        for slide in done
    }
    started = time.monotonic()
    n_shards = shard_count(sum(piece.rows for piece in pieces), sum(piece.bytes for piece in pieces))
    with progress.stage(f"shuffle {name}", n_shards, "shards") as stage:
        shards = merge(
            folder,
            spool,
            pieces,
            facts,
            classes=classes,
            workers=workers,
            report=lambda shard: stage.advance(patches=shard.rows, bytes=shard.bytes),
        )
    write_index(folder, shards, classes)
    statuses = table["status"].to_pylist()
    artefact.commit(
        config=config,
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
    cutting: Cutting,
    slides: Sequence[SlideEntry],
    inputs: Mapping[str, Any],
    spool: Storage,
    scale: Scale,
    *,
    workers: int | None,
    progress: Progress,
) -> dict[str, dict[str, Any]]:
    """The outcome of every slide by name, from the spool or by reading it."""
    identified = {entry["name"]: entry for entry in inputs["slides"]}
    labels = cutting.spec.labels
    ignored = {slide.name for slide in slides if labels.source == "slide" and slide.label in labels.ignore}
    how: dict[str, Any] = {"classes": cutting.classes, "copy": cutting.copy}
    folders = {
        slide.name: SlideSpool.find(spool, spool_inputs(cutting.spec, identified[slide.name], cutting.seed, **how))
        for slide in slides
        if "identity" in identified[slide.name] and slide.name not in ignored.union(scale.skipped)
    }
    with ThreadPoolExecutor(_THREADS) as pool:
        known = dict(zip(folders, pool.map(SlideSpool.outcome, folders.values()), strict=True))
    outcomes = {slide: outcome for slide, outcome in known.items() if outcome is not None}
    meter = Meter(name, len(slides))
    with progress.stage(f"tile {name}", len(slides), "slides") as stage:
        stage.resume(len(outcomes))
        meter.resume(len(outcomes))
        for slide in slides:
            if slide.name in scale.skipped:
                outcomes[slide.name] = _without_patches("skipped", scale.skipped[slide.name])
            elif slide.name in ignored:
                outcomes[slide.name] = _without_patches("skipped", f"its label {slide.label} is ignored")
            elif slide.name not in folders:
                reason = f"the file is missing or cannot be read: {slide.given or slide.path}"
                outcomes[slide.name] = _without_patches("failed", reason)
            else:
                continue
            _show(stage, meter, slide.name, outcomes[slide.name], read=False)
        todo = [SlideTask(slide, folders[slide.name].name) for slide in slides if slide.name not in outcomes]
        if todo:
            results = read_slides_into(spool, todo, cutting, workers=workers)
            for slide_name, outcome in _gather(results, folders, stage, meter):
                outcomes[slide_name] = outcome
                _show(stage, meter, slide_name, outcome)
    return outcomes


def _gather(
    results: Iterable[dict[str, Any]], folders: Mapping[str, SlideSpool], stage: Stage, meter: Meter
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each slide and its outcome as soon as all its cuts are read; what is not failed is kept in the spool."""
    cuts: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    failed = set()
    for result in results:
        slide, number = result["slide"], result["cut"]
        if slide in failed:
            continue
        if number not in cuts[slide]:
            stage.advance(0, patches=result["patches"], bytes=result["bytes"])
            meter.count(patches=result["patches"], bytes=result["bytes"])
        cuts[slide][number] = result
        if result["error"] is not None:
            failed.add(slide)
            yield slide, _without_patches("failed", result["error"])
            continue
        survey = json.loads(result["survey"])
        if len(cuts[slide]) == max(1, survey["cuts"]):
            outcome = _outcome(survey, cuts.pop(slide), folders[slide].name)
            if outcome["status"] == "failed":
                failed.add(slide)
            else:
                folders[slide].finish(outcome)
            yield slide, outcome
    for slide in failed:  # only now: other cuts of the slide may have been under way
        folders[slide].discard()


def _outcome(survey: dict[str, Any], cuts: Mapping[int, dict[str, Any]], folder: str) -> dict[str, Any]:
    pieces = [
        {"path": r["piece"], "rows": r["patches"], "bytes": r["bytes"]} for n, r in sorted(cuts.items()) if n >= 0
    ]
    rejected: Counter[str] = Counter()
    for result in cuts.values():
        rejected.update(json.loads(result["rejected"]))
    read = sum(piece["rows"] for piece in pieces) + rejected.total()
    if read != survey["places"]:
        return _without_patches("failed", f"{read} patches were read of {survey['places']}: a defect, please report it")
    dropped = rejected + Counter(survey["dropped"])
    reason = survey["reason"]
    if reason is None and not any(piece["rows"] for piece in pieces):
        reason = f"every patch was rejected ({words_of(dropped)})"
    return {
        "status": "skipped" if reason else "done",
        "reason": reason,
        "survey": survey,
        "dropped": dict(sorted(dropped.items())),
        "folder": folder,
        "pieces": pieces,
        "tile_seconds": sum(result["seconds"] for result in cuts.values()),
    }


def _without_patches(status: str, reason: str) -> dict[str, Any]:
    return {"status": status, "reason": reason, "survey": None, "dropped": {}, "folder": None, "pieces": [],
            "tile_seconds": 0.0}  # fmt: skip


def _show(stage: Stage, meter: Meter, slide: str, outcome: dict[str, Any], *, read: bool = True) -> None:
    status = outcome["status"]
    (stage.advance if read else stage.resume)(1, **({} if status == "done" else {status: 1}))
    meter.count(**{status: 1})
    if status != "done":
        stage.note(f"{slide}: {status} ({outcome['reason']})")


def _ends(table: pa.Table) -> str:
    """Why slides came to nothing, failures first."""
    rows = sorted(table.to_pylist(), key=lambda row: (row["status"] != "failed", row["slide"]))
    told = [f"{row['slide']}: {row['reason']}" for row in rows[:_NAMED]]
    return "; ".join(told + ([f"and {len(rows) - _NAMED} more"] if len(rows) > _NAMED else []))
