"""Slides to a patch set."""

import time
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from raysweep.errors import WorkError
from raysweep.patches.outcomes import SLIDES
from raysweep.patches.shuffle.merge import Piece, SlideFacts, merge
from raysweep.patches.write import Shard, shard_count, write_index
from raysweep.progress import Progress
from raysweep.slides.copies import copies_among, words_of_copies
from raysweep.slides.exports import export_places
from raysweep.slides.labels.classes import classes_of, label_of_slide, mask_classes_of
from raysweep.slides.outcomes import WRITTEN, Outcome, same_outcomes, slide_table, with_reasons
from raysweep.slides.overlay import draw_overlays
from raysweep.slides.pipeline import Cutting, Limits
from raysweep.slides.read_all import read_all
from raysweep.slides.scale import Scale, native_scale
from raysweep.slides.spec import ASIDE, CHROMA, KERNEL, PatchSetSpec
from raysweep.slides.table.columns import deal_splits
from raysweep.slides.table.entries import SlideEntry
from raysweep.storage import MANIFEST, Artefact, Storage

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
    excluded: Sequence[tuple[SlideEntry, str]] = (),
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
        excluded: slides that are not read and not among `slides`, and why: rows of the slide table with the status
            `skipped`.

    Ray must be running. A slide that cannot be read is a row with the status `failed` and its reason, one that has
    nothing to give is `skipped`. In a patch set that is complete the slides that failed are read again; it stays as
    it is until one of them gives another outcome, and exports are written beside it. Raises NothingTiled when no
    slide gives a patch, and WorkError when something cannot be written.
    """
    slides = sorted(slides, key=lambda slide: slide.name)
    job = _Tiling(spec, slides, artefact, spool, seed=seed, workers=workers, progress=progress, limits=limits,
                  excluded=excluded)  # fmt: skip
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
        excluded: Sequence[tuple[SlideEntry, str]],
    ) -> None:
        self.spec, self.slides, self.artefact, self.spool = spec, slides, artefact, spool
        self.seed, self.workers, self.progress, self.limits = seed, workers, progress, limits
        self.excluded = excluded
        self.name = artefact.home.root.rsplit("/", 1)[-1]
        self.classes = classes_of(spec.labels, [slide.label for slide in slides if slide.label is not None])
        self.splits = deal_splits(slides, spec.split, seed, spec.split_by, spec.split_within,
                                  artefact.inputs.get("copies", ()))  # fmt: skip
        self.timings: dict[str, float] = {}
        self.config: dict[str, Any] = {}

    def read(self) -> tuple[Scale, dict[str, Outcome]]:
        """Every slide's patches into the spool, unless they are there."""
        started = time.monotonic()
        inputs, limits = self.artefact.inputs, self.limits
        if copies := copies_among(inputs["slides"]):
            self.progress.say(f"{self.name}: {words_of_copies(copies)}")
        scale = native_scale(
            self.spec, self.slides, inputs, self.spool, self.workers, limits.fetch_bytes, self.progress
        )
        cutting = Cutting(self.spec, tuple(self.classes), self.seed, scale.copy, limits)
        outcomes = read_all(self.name, cutting, self.slides, inputs, self.spool, scale, workers=self.workers,
                             progress=self.progress)  # fmt: skip
        self.timings["tile_seconds"] = time.monotonic() - started
        return scale, outcomes | {slide.name: Outcome("skipped", reason) for slide, reason in self.excluded}

    def describe(self, scale: Scale, outcomes: dict[str, Outcome]) -> pa.Table:
        """Slide table, overlays and exports. A complete set stays complete when no slide ended in another way."""
        spec, folder = self.spec, self.artefact.folder
        mpp = spec.patch_mpp or scale.mpp
        self.config = {
            **spec.model_dump(mode="json", exclude=set(ASIDE)),
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
        listed = sorted([*self.slides, *(slide for slide, _ in self.excluded)], key=lambda slide: slide.name)
        table = slide_table(listed, outcomes, self.splits, self._export(outcomes))
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
                "slides": len(table),
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


def _ends(table: pa.Table) -> str:
    """Why slides came to nothing, failures first."""
    rows = sorted(table.to_pylist(), key=lambda row: (row["status"] != "failed", row["slide"]))
    told = [f"{row['slide']}: {row['reason']}" for row in rows[:_NAMED]]
    return "; ".join(told + ([f"and {len(rows) - _NAMED} more"] if len(rows) > _NAMED else []))
