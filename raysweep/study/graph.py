"""Everything a study consists of, as folders with fingerprints: what exists is skipped, what is missing is made."""

import os
import stat
from dataclasses import dataclass

from raysweep.errors import OF_PATHS, RequestError
from raysweep.report.spec import CompareSpec
from raysweep.slides.identity import Identities
from raysweep.storage import Artefact, Storage
from raysweep.study.cells import FeaturesPlan, plan_cells
from raysweep.study.checkpoints import CheckpointPlan, plan_checkpoints
from raysweep.study.choices import ChoicePlan, check_choices, plan_choices
from raysweep.study.fits import Fits, check_fits
from raysweep.study.leakage import Leakage, check_leakage, find_leakage
from raysweep.study.load import StudyFile
from raysweep.study.model import Study
from raysweep.study.own_sets import check_made, plan_own_sets
from raysweep.study.patch_sets import PatchSetPlan, plan_patch_sets
from raysweep.study.sources import SourcePlan, plan_sources
from raysweep.study.tasks import TaskPlan, load_cards, plan_tasks
from raysweep.sweep.cell import Cell
from raysweep.tasks.card import METRICS, OBJECT_METRICS, Card


@dataclass(frozen=True)
class Graph:
    """A study's artefacts in the order of making: patch sets, tasks, sources, checkpoints, features, cells, choices."""

    file: StudyFile
    home: Storage  # the study's own folder
    patch_sets: dict[str, PatchSetPlan]
    sources: dict[str, SourcePlan]  # labelled sets that checkpoints draw from
    checkpoints: dict[str, CheckpointPlan]
    tasks: dict[str, TaskPlan]
    features: list[FeaturesPlan]
    cells: list[Cell]  # all that there may be: of some, choices leave out the finals, or the whole
    choices: list[ChoicePlan]
    fits: Fits
    identities: Identities  # of the slides' files, remembered
    leakage: Leakage  # as far as it is known before pretraining
    contents: tuple[str, ...]  # of patch sets and sources, when what is made from them was laid out

    @property
    def study(self) -> Study:
        return self.file.study

    @property
    def rows(self) -> list[str]:
        """What tables have a row for: checkpoints, and grids of which a point is chosen."""
        return list(dict.fromkeys(plan.row for plan in self.checkpoints.values()))

    @property
    def compare(self) -> CompareSpec:
        """What is compared, its baseline named."""
        baseline = self.study.compare.baseline or self.rows[0]
        return self.study.compare.model_copy(update={"baseline": baseline})

    def changed(self) -> bool:
        """Whether patch sets or sources hold something else by now, made by this run or by another one."""
        return self.contents != _contents(self.patch_sets, self.sources)

    def artefacts(self) -> list[Artefact]:
        """All of them, each once."""
        found = [
            *(p.artefact for p in self.patch_sets.values()),
            *(a for s in self.sources.values() for a in ([s.artefact] if s.tested else [s.index, s.artefact])),
            *(a for c in self.checkpoints.values() for a in c.artefacts),
            *(t.artefact for t in self.tasks.values()),
            *(f.artefact for t in self.tasks.values() for f in t.further),
            *(f.artefact for f in self.features),
            *(r.artefact for c in self.cells for r in c.repeats),
            *(c.artefact for c in self.choices),
        ]
        return list({artefact.folder.root: artefact for artefact in found}.values())


def build_graph(file: StudyFile, earlier: Graph | None = None) -> Graph:
    """Check a whole study and lay out its artefacts. Reads slide tables, file ends and image headers; networks run
    without values, once on this machine, and nothing else does.

    `earlier` is another graph of the study: slides, tasks and sources are taken from it, as their files were then. What
    is made from a patch set depends on which of its slides failed, so a graph is of its time: build another once slides
    have been tiled.

    Raises RequestError for whatever is wrong with the study, in one sentence that names the key.
    """
    study = file.study
    home = study_folder(study)
    _check_primary(study)
    identities = Identities(home)
    if earlier is None:
        cards = load_cards(file)
        _check_metric(study, [task.card for task in cards])
        own = plan_own_sets(file, home, identities, cards)
        check_made(own)
        tasks = plan_tasks(cards, study, home, {name: plan.artefact for name, plan in own.items()})
        patch_sets = plan_patch_sets(file, home, identities, tasks)
        sources = plan_sources(file, home, patch_sets, tasks)
    else:
        patch_sets, tasks, sources = earlier.patch_sets, earlier.tasks, earlier.sources
    contents = _contents(patch_sets, sources)
    seen = {name: plan for name, plan in patch_sets.items() if name not in tasks}  # else the task is meant
    checkpoints = plan_checkpoints(study, home, seen, sources, tasks, file.folder)
    rows = dict.fromkeys(plan.row for plan in checkpoints.values())
    if study.compare.baseline and study.compare.baseline not in rows:
        raise RequestError(
            f"compare.baseline: {study.compare.baseline} is not a checkpoint of this study; they are {', '.join(rows)}"
        )
    check_choices(study, checkpoints, tasks)
    leakage = find_leakage(file, checkpoints, seen, sources, tasks)
    check_leakage(leakage, study.allow_leakage)
    fits = check_fits(study.transfer, checkpoints, tasks) if earlier is None else earlier.fits
    cells, features = plan_cells(file, home, checkpoints, tasks, fits.decoders)
    choices = plan_choices(study, home, checkpoints, tasks, cells)
    return Graph(file, home, patch_sets, sources, checkpoints, tasks, features, cells, choices, fits, identities,
                 leakage, contents)  # fmt: skip


def _contents(patch_sets: dict[str, PatchSetPlan], sources: dict[str, SourcePlan]) -> tuple[str, ...]:
    return (*(plan.contents for plan in patch_sets.values()), *(plan.contents for plan in sources.values()))


def study_folder(study: Study) -> Storage:
    """Where a study keeps everything it makes. Raises RequestError for what is, or can be, no folder."""
    home = Storage.open(study.storage).at(study.name)
    if home.is_local:
        reason = "there is something else of that name"
        try:
            good = stat.S_ISDIR(os.stat(home.root).st_mode)
        except OSError as error:
            good, reason = error.errno not in OF_PATHS, error.strerror or ""
        if not good:
            raise RequestError(f"storage {home.root}: is no folder ({reason}); name another one as storage=PATH")
    return home


def _check_primary(study: Study) -> None:
    asked = {p for kind in ("classification", "segmentation") for p in study.transfer.protocols_for(kind)}
    if study.compare.primary.protocol not in asked:
        raise RequestError(
            f"compare.primary.protocol: {study.compare.primary.protocol} is not among transfer.protocols "
            f"({', '.join(sorted(asked))})"
        )


def _check_metric(study: Study, cards: list[Card]) -> None:
    """The metric that all tasks are to be compared by must be one of some task, and have its counts wherever it is."""
    metric = study.compare.primary.metric
    if metric is None:
        return
    fitting = [card for card in cards if metric in METRICS[card.kind]]
    if not fitting:
        known = ", ".join(dict.fromkeys(name for card in cards for name in METRICS[card.kind]))
        raise RequestError(f"compare.primary.metric: {metric} scores no task of this study; these do: {known}")
    for card in fitting:
        if metric in OBJECT_METRICS and metric not in card.metrics:
            raise RequestError(
                f"compare.primary.metric: {metric} needs counts that are kept when a card lists it; add it to the "
                f"metrics of card {card.name}"
            )
