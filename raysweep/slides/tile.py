"""Slides to a patch set."""

import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs

from raysweep.patches.outcomes import SLIDES
from raysweep.patches.shuffle.merge import SlideFacts, merge
from raysweep.patches.shuffle.pieces import Piece
from raysweep.patches.write import Shard, shard_count, write_index
from raysweep.progress import Progress
from raysweep.slides.copies import copies_among, words_of_copies
from raysweep.slides.exports import export_places
from raysweep.slides.labels.classes import classes_of, label_of_slide, mask_classes_of
from raysweep.slides.outcomes import WRITTEN, NoPatchSet, Outcome, same_outcomes, slide_table, with_reasons
from raysweep.slides.overlay import draw_overlays
from raysweep.slides.pipeline import Cutting, Limits
from raysweep.slides.read_all import read_all
from raysweep.slides.scale import Scale, native_scale
from raysweep.slides.spec import ASIDE, CHROMA, KERNEL, PatchSetSpec
from raysweep.slides.table.columns import deal_splits
from raysweep.slides.table.entries import SlideEntry
from raysweep.storage import MANIFEST, Artefact, Storage

_NAMED = 5  # slides that one sentence names
_BESIDE = "anew"  # the folder that a complete set is made anew in


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
    max_failed: float | None = None,
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
        max_failed: part of the slides that may fail of those that are looked at, or one; with more of them there is no
            patch set. None: all may.

    Ray must be running. A slide that cannot be read is a row with the status `failed` and its reason, one that has
    nothing to give is `skipped`. In a patch set that is complete the slides that failed are read again, and exports are
    written into it; where a slide gives another outcome the whole set is made anew beside the old one, which stays
    until the new one is complete. Raises NoPatchSet when no slide gives a patch or too many fail, and WorkError when
    something cannot be written.
    """
    slides = sorted(slides, key=lambda slide: slide.name)
    beside = replace(artefact, home=artefact.home.at(_BESIDE))
    if beside.done():  # the program was killed before it took the place of the old one
        _take_place(beside, artefact)
    job = _Tiling(spec, slides, artefact, spool, seed=seed, workers=workers, progress=progress, limits=limits,
                  excluded=excluded, max_failed=max_failed)  # fmt: skip
    outcomes = job.read()
    table = job.renewed(outcomes) if artefact.done() else None
    if table is not None:
        return table
    job.artefact = beside if artefact.done() else artefact
    table = job.describe(outcomes)
    job.commit(table, job.shuffle(outcomes))
    if job.artefact is beside:
        _take_place(beside, artefact)
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
        max_failed: float | None,
    ) -> None:
        self.spec, self.slides, self.spool = spec, slides, spool
        self.artefact = artefact  # where to: another one while the set is made anew
        self.seed, self.workers, self.progress, self.limits = seed, workers, progress, limits
        self.excluded, self.max_failed = excluded, max_failed
        self.name = artefact.home.root.rsplit("/", 1)[-1]
        self.classes = classes_of(spec.labels, [slide.label for slide in slides if slide.label is not None])
        self.splits = deal_splits(slides, spec.split, seed, spec.split_by, spec.split_within,
                                  artefact.inputs.get("copies", ()))  # fmt: skip
        self.timings: dict[str, float] = {}
        self.config: dict[str, Any] = {}

    def read(self) -> dict[str, Outcome]:
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
        self._describe_set(scale)
        return outcomes | {slide.name: Outcome("skipped", reason) for slide, reason in self.excluded}

    def _describe_set(self, scale: Scale) -> None:
        spec = self.spec
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

    def renewed(self, outcomes: dict[str, Outcome]) -> pa.Table | None:
        """The slide table of a complete set in which no slide ended in another way, with exports that it lacked."""
        folder = self.artefact.folder
        table = folder.read_table(SLIDES)
        if self.artefact.manifest()["config"] != self.config or not same_outcomes(table, outcomes):
            return None
        table = with_reasons(table, outcomes, self._export(outcomes))
        folder.write_table(table, SLIDES)
        return table

    def describe(self, outcomes: dict[str, Outcome]) -> pa.Table:
        """Slide table, overlays and exports. Raises NoPatchSet where there cannot be one."""
        folder = self.artefact.folder
        folder.remove(WRITTEN)
        listed = sorted([*self.slides, *(slide for slide, _ in self.excluded)], key=lambda slide: slide.name)
        table = slide_table(listed, outcomes, self.splits, self._export(outcomes))
        with self.progress.stage(f"draw {self.name}", len(table) - table["overlay"].null_count, "slides") as stage:
            for _ in draw_overlays(folder, self.spool, outcomes, self.workers):
                stage.advance()
        folder.write_table(table, SLIDES)
        if not self._done(outcomes):
            raise NoPatchSet(f"no slide of patch set {self.name} could be tiled: {_ends(table)}")
        self._check_failed(table, outcomes)
        return table

    def _check_failed(self, table: pa.Table, outcomes: dict[str, Outcome]) -> None:
        failed = table["status"].to_pylist().count("failed")
        looked_at = failed + sum(outcome.survey is not None for outcome in outcomes.values())  # not what was left out
        if self.max_failed is None or failed <= max(1, int(self.max_failed * looked_at)):
            return
        raise NoPatchSet(
            f"{failed} of {looked_at} slides of patch set {self.name} failed, and patches.{self.name}.max_failed is "
            f"{self.max_failed:g}: mend them, leave them out or allow more of them, and run again; what was read is "
            f"kept ({_ends(table.filter(pc.equal(table['status'], 'failed')))})"
        )

    def shuffle(self, outcomes: dict[str, Outcome]) -> list[Shard]:
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
        missing = export_places(
            self.spec, self.artefact.folder, self.spool, done, self.classes, self.workers, self.progress
        )
        for slide, reason in list(missing.items())[:1]:
            self.progress.say(
                f"{self.name}: {len(missing)} of {len(done)} slides lack an export, which the column export_missing "
                f"of slides.parquet tells, such as {slide}: {reason}"
            )
        return missing


def _take_place(made: Artefact, of: Artefact) -> None:
    """Put a complete artefact where another is, of the same inputs. Killed on the way, one of the two is complete."""
    new, old = made.folder, of.folder
    if new.is_local:
        if old.exists():
            os.replace(old.root, made.home.path(f"old-{uuid.uuid4().hex}"))
        os.replace(new.root, old.root)
    else:  # an object store renames nothing
        old.remove(MANIFEST)
        old.remove()
        paths = [info.path for info in new.infos(recursive=True) if info.type == pafs.FileType.File]
        for path in sorted(paths, key=lambda path: path == new.path(MANIFEST)):  # the manifest last
            target = old.root + path.removeprefix(new.root)
            old.patiently(partial(new.fs.copy_file, path, target), target, "written")
    made.home.remove()


def _ends(table: pa.Table) -> str:
    """Why slides came to nothing, failures first."""
    rows = sorted(table.to_pylist(), key=lambda row: (row["status"] != "failed", row["slide"]))
    told = [f"{row['slide']}: {row['reason']}" for row in rows[:_NAMED]]
    return "; ".join(told + ([f"and {len(rows) - _NAMED} more"] if len(rows) > _NAMED else []))
