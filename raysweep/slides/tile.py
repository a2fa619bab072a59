"""Slides to a patch set."""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from raysweep.errors import WorkError
from raysweep.patches.outcomes import SLIDES
from raysweep.patches.shuffle.merge import Piece, SlideFacts, merge
from raysweep.patches.shuffle.spool import SlideSpool
from raysweep.patches.write import Shard, shard_count, write_index
from raysweep.progress import Progress, Stage
from raysweep.slides.exports import export_places
from raysweep.slides.inputs import spool_inputs
from raysweep.slides.labels.classes import classes_of, label_of_slide, mask_classes_of
from raysweep.slides.meter import Meter
from raysweep.slides.outcomes import WRITTEN, Outcome, same_outcomes, slide_table, with_reasons, words_of
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
    slides = sorted(slides, key=lambda slide: slide.name)
    job = _Tiling(spec, slides, artefact, spool, seed=seed, workers=workers, progress=progress, limits=limits)
    scale, outcomes = job.read()
    table = job.describe(scale, outcomes)
    if not artefact.done():
        shards = job.shuffle(outcomes, table)
        job.commit(table, shards)
    return table


class _Tiling:
    """The four steps of making a patch set; the arguments are those of `tile`."""

    def __init__(
        self,
        spec: PatchSetSpec,
        slides: list[SlideEntry],
        artefact: Artefact,
        spool: Storage,
        *,
        seed: int,
        workers: int | None,
        progress: Progress,
        limits: Limits,
    ) -> None:
        self.spec, self.slides, self.artefact, self.spool = spec, slides, artefact, spool
        self.seed, self.workers, self.progress, self.limits = seed, workers, progress, limits
        self.name = artefact.home.root.rsplit("/", 1)[-1]
        self.classes = classes_of(spec.labels, [slide.label for slide in slides if slide.label is not None])
        self.splits = deal_splits(slides, spec.split, seed, spec.split_by, spec.split_within)
        self.timings: dict[str, float] = {}
        self.config: dict[str, Any] = {}

    def read(self) -> tuple[Scale, dict[str, Outcome]]:
        """Every slide's patches into the spool, unless they are there."""
        started = time.monotonic()
        inputs, limits = self.artefact.inputs, self.limits
        scale = native_scale(
            self.spec, self.slides, inputs, self.spool, self.workers, limits.fetch_bytes, self.progress
        )
        cutting = Cutting(self.spec, tuple(self.classes), self.seed, scale.copy, limits)
        outcomes = _read_all(self.name, cutting, self.slides, inputs, self.spool, scale, workers=self.workers,
                             progress=self.progress)  # fmt: skip
        self.timings["tile_seconds"] = time.monotonic() - started
        return scale, outcomes

    def describe(self, scale: Scale, outcomes: dict[str, Outcome]) -> pa.Table:
        """Slide table, overlays and exports. A complete set stays complete when no slide ended in another way."""
        spec, folder = self.spec, self.artefact.folder
        mpp = spec.patch_mpp or scale.mpp
        self.config = {
            **spec.model_dump(mode="json", exclude={"slides", "root", "where", "coords", "export"}),
            "mpp": mpp,
            "um": None if mpp is None else mpp * spec.px,
            "classes": self.classes,
            "mask_classes": mask_classes_of(spec.labels),
            "kernel": "none: the slides' own JPEG tiles" if scale.copy else KERNEL,
            "chroma": "the slides' own" if scale.copy else CHROMA,
        }
        table = folder.read_table(SLIDES) if self.artefact.done() else None
        same = table is not None and self.artefact.manifest()["config"] == self.config
        if table is not None and same and same_outcomes(table, outcomes):
            table = with_reasons(table, outcomes, self._export(outcomes))
            folder.write_table(table, SLIDES)
            return table
        folder.remove(MANIFEST)  # before anything of it changes
        folder.remove(WRITTEN)
        table = slide_table(self.slides, outcomes, self.splits, self._export(outcomes))
        with self.progress.stage(f"draw {self.name}", len(table) - table["overlay"].null_count, "slides") as stage:
            for _ in draw_overlays(folder, self.spool, outcomes, self.workers):
                stage.advance()
        folder.write_table(table, SLIDES)
        if not self._done(outcomes):
            raise NothingTiled(f"no slide of patch set {self.name} could be tiled: {_ends(table)}")
        return table

    def shuffle(self, outcomes: dict[str, Outcome], table: pa.Table) -> list[Shard]:
        """The spool's patches into shards."""
        started = time.monotonic()
        pieces, facts = [], {}
        for slide in self._done(outcomes):
            outcome = outcomes[slide.name]
            assert outcome.survey is not None  # it gave patches
            pieces += [Piece(**piece) for piece in outcome.pieces]
            facts[slide.name] = SlideFacts(
                patient=slide.patient,
                label=label_of_slide(self.spec.labels, slide.label, self.classes),
                split=self.splits[slide.name],
                mpp=self.spec.patch_mpp or outcome.survey["mpp"],
                source_mpp=outcome.survey["mpp"],
            )
        n_shards = shard_count(sum(piece.rows for piece in pieces), sum(piece.bytes for piece in pieces))
        with self.progress.stage(f"shuffle {self.name}", n_shards, "shards") as stage:
            shards = merge(
                self.artefact.folder,
                self.spool,
                pieces,
                facts,
                classes=self.classes,
                workers=self.workers,
                report=lambda shard: stage.advance(patches=shard.rows, bytes=shard.bytes),
            )
        self.timings["merge_seconds"] = time.monotonic() - started
        return shards

    def commit(self, table: pa.Table, shards: list[Shard]) -> None:
        """Make it complete."""
        write_index(self.artefact.folder, shards, self.classes)
        statuses = table["status"].to_pylist()
        self.artefact.commit(
            config=self.config,
            counts={
                "slides": len(self.slides),
                **{status: statuses.count(status) for status in ("done", "failed", "skipped")},
                "patches": sum(shard.rows for shard in shards),
                "shards": len(shards),
                "bytes": sum(shard.bytes for shard in shards),
            },
            timings=self.timings,
        )

    def _done(self, outcomes: dict[str, Outcome]) -> list[SlideEntry]:
        return [slide for slide in self.slides if outcomes[slide.name].status == "done"]

    def _export(self, outcomes: dict[str, Outcome]) -> dict[str, str]:
        """Write the exports that are asked for and not there; what could not be written, by slide."""
        done = {slide.name: outcomes[slide.name] for slide in self._done(outcomes)}
        missing = export_places(self.spec, self.artefact.folder, self.spool, done, self.classes, self.workers)
        for slide, reason in list(missing.items())[:1]:
            self.progress.say(
                f"{self.name}: {len(missing)} of {len(done)} slides lack an export, which the column export_missing "
                f"of slides.parquet tells, such as {slide}: {reason}"
            )
        return missing


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
        todo = [SlideTask(slide, folders[slide.name].name) for slide in slides if slide.name not in outcomes]
        if todo:
            results = read_slides_into(spool, todo, cutting, workers=workers)
            for slide_name, outcome in _gather(results, folders, stage, meter):
                outcomes[slide_name] = outcome
                _show(stage, meter, slide_name, outcome)
    return outcomes


def _gather(
    results: Iterable[dict[str, Any]], folders: Mapping[str, SlideSpool], stage: Stage, meter: Meter
) -> Iterator[tuple[str, Outcome]]:
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
            yield slide, Outcome("failed", result["error"])
            continue
        survey = json.loads(result["survey"])
        if len(cuts[slide]) == max(1, survey["cuts"]):
            outcome = _outcome(survey, cuts.pop(slide), folders[slide].name)
            if outcome.status == "failed":
                failed.add(slide)
            else:
                folders[slide].finish(asdict(outcome))
            yield slide, outcome
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


def _ends(table: pa.Table) -> str:
    """Why slides came to nothing, failures first."""
    rows = sorted(table.to_pylist(), key=lambda row: (row["status"] != "failed", row["slide"]))
    told = [f"{row['slide']}: {row['reason']}" for row in rows[:_NAMED]]
    return "; ".join(told + ([f"and {len(rows) - _NAMED} more"] if len(rows) > _NAMED else []))
