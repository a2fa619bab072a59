"""The patch sets of a study: what they are made from, what of them is there, and making them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysweep.errors import RequestError
from raysweep.patches.outcomes import read_outcomes
from raysweep.patches.shuffle.spool import SlideSpool, complete_slides
from raysweep.patches.write import contents
from raysweep.progress import Progress
from raysweep.slides.identity import Identities
from raysweep.slides.inputs import patch_set_inputs, spool_inputs
from raysweep.slides.labels.classes import classes_of
from raysweep.slides.outcomes import written_exports
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.columns import check_wants
from raysweep.slides.table.entries import SlideEntry, read_slides
from raysweep.storage import MANIFEST, Artefact, Storage
from raysweep.study.load import StudyFile
from raysweep.study.matching import Shown, TaskUnits
from raysweep.study.model import Compute
from raysweep.study.tasks import TaskPlan

_MAX_FAILED = 0.02  # of the slides


@dataclass(frozen=True)
class PatchSetPlan:
    """A patch set, its slides and its folder. excluded: slides that were left out for the tasks' sake, and why."""

    name: str
    spec: PatchSetSpec
    slides: list[SlideEntry]
    artefact: Artefact
    excluded: Sequence[tuple[SlideEntry, str]] = ()

    @property
    def contents(self) -> str:
        """What it holds by now; before it is there, a name for it."""
        return contents(self.artefact.folder) if self.artefact.done() else self.artefact.fingerprint


def plan_patch_sets(
    file: StudyFile, home: Storage, identities: Identities, tasks: Mapping[str, TaskPlan]
) -> dict[str, PatchSetPlan]:
    """The patch sets of a study. Reads slide tables, and the ends of slide files that are not known yet.

    Raises RequestError for a slide table that cannot be used, or one of which `exclude` leaves nothing.
    """
    plans = {}
    every = [task for plan in tasks.values() for task in (plan.task, *(other.task for other in plan.further))]
    tested = [TaskUnits(task) for task in {task.card.name: task for task in every}.values()]
    for name, spec in file.study.patches.items():
        try:
            slides = read_slides(spec, file.folder)
            check_wants(spec, slides)
            inputs = patch_set_inputs(spec, slides, file.study.seed, identities)
            out = _patients_of(tested, spec, slides, inputs) if spec.exclude else {}
            excluded = [(slide, out[slide.name]) for slide in slides if slide.name in out]
            slides = [slide for slide in slides if slide.name not in out]
            if not slides:
                first, why = excluded[0]
                raise RequestError(f"exclude: every slide is left out, such as {first.name} ({why}); add other slides")
            check_wants(spec, slides)
        except RequestError as error:
            raise RequestError(f"patches.{name}: {error}") from error
        if out:  # a set that loses no slide by it is the set without the key
            kept = [slide for slide in inputs["slides"] if slide["name"] not in out]
            inputs = {**inputs, "slides": kept, "excluded": sorted(out)}
        plans[name] = PatchSetPlan(name, spec, slides, Artefact(home.at("patches", name), inputs), excluded)
    return plans


def _patients_of(
    tested: Sequence[TaskUnits], spec: PatchSetSpec, slides: Sequence[SlideEntry], inputs: Mapping[str, Any]
) -> dict[str, str]:
    """Slides of people who are in a task, by name, and why: also a person's other slides, by whatever one is known."""
    files = {slide["name"]: slide["identity"] for slide in inputs["slides"] if "identity" in slide}
    known: dict[tuple[str, str], str] = {}
    for slide in slides:
        file = files.get(slide.name)
        hashes = frozenset([f"{file['size']}-{file['hash']}"] if file else [])
        units = frozenset([slide.patient] if slide.patient else [])
        shown = Shown(spec.slides, frozenset([slide.name]), units, hashes, collections=tuple(spec.collection))
        task = next((task.name for task in tested if task.units_in(shown)), None)
        if task:
            known.setdefault(slide.unit(), f"patient of task {task}")
    return {slide.name: known[slide.unit()] for slide in slides if slide.unit() in known}


def make_patch_set(plan: PatchSetPlan, home: Storage, *, seed: int, compute: Compute, progress: Progress) -> None:
    """Tile its slides. Ray is initialised. Raises NoPatchSet when too many of them fail, or none could be tiled."""
    from raysweep.slides.pipeline import Limits
    from raysweep.slides.tile import tile

    max_failed = _MAX_FAILED if plan.spec.max_failed is None else plan.spec.max_failed
    tile(plan.spec, plan.slides, plan.artefact, home.at("spool"), seed=seed, workers=compute.tile_workers,
         progress=progress, limits=Limits(compute.cut_mpx, compute.fetch_gb), excluded=plan.excluded,
         max_failed=max_failed)  # fmt: skip
    if not compute.keep_spool:
        for spool in spools(plan, home, seed):
            spool.discard()


def to_tile(artefact: Artefact, exports: Sequence[str] = ()) -> bool:
    """Whether a patch set is not complete, lacks exports, or has slides that failed and that could be read this time.

    A slide whose file was missing is no such slide: with its file the set has another fingerprint.
    """
    if not artefact.done() or not set(exports) <= set(written_exports(artefact.folder)):
        return True
    there = {slide["name"] for slide in artefact.inputs["slides"] if "identity" in slide}
    return not there.isdisjoint(failed_slides(artefact.folder))


def failed_slides(folder: Storage) -> dict[str, str]:
    """The slides of a patch set that failed, with their reasons; none while it is not complete."""
    if not folder.exists(MANIFEST) or not folder.read_json(MANIFEST)["counts"]["failed"]:
        return {}
    return {slide.slide: slide.reason or "" for slide in read_outcomes(folder) if slide.status == "failed"}


def read_by_now(plan: PatchSetPlan, home: Storage, seed: int) -> list[str]:
    """The slides of a patch set whose patches tiling would take from the spool, by name."""
    spool = home.at("spool")
    complete = set(complete_slides(spool))
    if not complete:
        return []
    found = {}
    for slide, inputs in _spool_inputs(plan, seed):
        if slide not in found and (
            SlideSpool.below(spool, inputs).name in complete or SlideSpool.find(spool, inputs).name in complete
        ):
            found[slide] = True
    return list(found)


def spools(plan: PatchSetPlan, home: Storage, seed: int) -> Iterator[SlideSpool]:
    """The folders of the spool that tiling would use for the slides of a patch set."""
    return (SlideSpool.find(home.at("spool"), inputs) for _, inputs in _spool_inputs(plan, seed))


def _spool_inputs(plan: PatchSetPlan, seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and inputs of each slide, twice: only tiling finds out whether the slide's own tiles are copied."""
    classes = classes_of(plan.spec.labels, [s.label for s in plan.slides if s.label is not None])
    for slide in plan.artefact.inputs["slides"]:
        if "identity" in slide:
            for copy in (False, True):
                yield slide["name"], spool_inputs(plan.spec, slide, seed, classes=classes, copy=copy)
