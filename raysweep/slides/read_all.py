"""The outcome of every slide of a patch set: from the spool, or by reading it."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from raysweep.patches.shuffle.spool import SlideSpool
from raysweep.progress import Progress, Stage
from raysweep.slides.inputs import spool_inputs
from raysweep.slides.meter import Meter
from raysweep.slides.one_pass import read_in_one_pass
from raysweep.slides.outcomes import Outcome, words_of
from raysweep.slides.pipeline import Cutting, SlideTask, read_slides_into
from raysweep.slides.scale import Scale
from raysweep.slides.table.entries import SlideEntry
from raysweep.storage import Storage

_THREADS = 16  # small files that are read at once


def read_all(
    name: str,
    cutting: Cutting,
    slides: Sequence[SlideEntry],
    inputs: Mapping[str, Any],
    spool: Storage,
    scale: Scale,
    *,
    workers: int | None,
    progress: Progress,
) -> dict[str, Outcome]:
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
    outcomes = {slide: Outcome(**outcome) for slide, outcome in known.items() if outcome is not None}
    meter = Meter(name, len(slides))
    with progress.stage(f"tile {name}", len(slides), "slides") as stage:
        stage.resume(len(outcomes))
        meter.resume(len(outcomes))
        for slide in slides:
            if slide.name in scale.skipped:
                outcomes[slide.name] = Outcome("skipped", scale.skipped[slide.name])
            elif slide.name in ignored:
                outcomes[slide.name] = Outcome("skipped", f"its label {slide.label} is ignored")
            elif slide.name not in folders:
                reason = f"the file is missing or cannot be read: {slide.given or slide.path}"
                outcomes[slide.name] = Outcome("failed", reason)
            else:
                continue
            _show(stage, meter, slide.name, outcomes[slide.name], read=False)
        left = [slide for slide in slides if slide.name not in outcomes]
        whole = read_in_one_pass(left, identified, cutting.limits.fetch_bytes, workers)
        todo = [SlideTask(slide, folders[slide.name].name, slide.name in whole) for slide in left]
        if todo:
            results = read_slides_into(spool, todo, cutting, workers=workers, tell=stage.note)
            for slide_name, outcome in _gather(results, folders, stage, meter):
                outcomes[slide_name] = outcome
                _show(stage, meter, slide_name, outcome)
    return outcomes


def _gather(
    results: Iterable[dict[str, Any]], folders: Mapping[str, SlideSpool], stage: Stage, meter: Meter
) -> Iterator[tuple[str, Outcome]]:
    """Each slide and its outcome as soon as all its cuts are read; what is not failed is kept in the spool, at the
    latest when the last one has been given.
    """
    cuts: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    failed = set()
    with ThreadPoolExecutor(_THREADS) as pool:
        kept: list[Future[None]] = []
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
                yield slide, Outcome("failed", result["error"])
                continue
            survey = json.loads(result["survey"])
            if len(cuts[slide]) == max(1, survey["cuts"]):
                outcome = _outcome(survey, cuts.pop(slide), folders[slide].name)
                if outcome.status == "failed":
                    failed.add(slide)
                else:
                    kept.append(pool.submit(folders[slide].finish, asdict(outcome)))
                yield slide, outcome
    for future in kept:
        future.result()
    for slide in failed:  # only now: other cuts of the slide may have been under way
        folders[slide].discard()


def _outcome(survey: dict[str, Any], cuts: Mapping[int, dict[str, Any]], folder: str) -> Outcome:
    pieces = [
        {"path": r["piece"], "rows": r["patches"], "bytes": r["bytes"]} for n, r in sorted(cuts.items()) if n >= 0
    ]
    rejected: Counter[str] = Counter()
    for result in cuts.values():
        rejected.update(json.loads(result["rejected"]))
    read = sum(piece["rows"] for piece in pieces) + rejected.total()
    if read != survey["places"]:
        return Outcome("failed", f"{read} patches were read of {survey['places']}: a defect, please report it")
    dropped = rejected + Counter(survey["dropped"])
    reason = survey["reason"]
    if reason is None and not any(piece["rows"] for piece in pieces):
        reason = f"every patch was rejected ({words_of(dropped)})"
    return Outcome(
        status="skipped" if reason else "done",
        reason=reason,
        survey=survey,
        dropped=dict(sorted(dropped.items())),
        folder=folder,
        pieces=pieces,
        tile_seconds=sum(result["seconds"] for result in cuts.values()),
    )


def _show(stage: Stage, meter: Meter, slide: str, outcome: Outcome, *, read: bool = True) -> None:
    status = outcome.status
    (stage.advance if read else stage.resume)(1, **({} if status == "done" else {status: 1}))
    meter.count(**{status: 1})
    if status != "done":
        stage.note(f"{slide}: {status} ({outcome.reason})")
