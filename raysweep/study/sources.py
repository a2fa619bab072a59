"""The labelled sets that checkpoints of a study draw from: each is written once as a patch set."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from raysweep.errors import RequestError
from raysweep.patches.write import contents
from raysweep.progress import Progress
from raysweep.storage import Artefact, Storage, fingerprint
from raysweep.study.load import StudyFile
from raysweep.study.model import Compute, Study
from raysweep.study.patch_sets import failed_slides
from raysweep.study.tasks import TaskPlan, find_task, load_source_card
from raysweep.tasks.source import source_inputs, train_rows
from raysweep.tasks.task import Task


@dataclass(frozen=True)
class SourcePlan:
    """A labelled set as a source: its images, the folder of their index, and that of its patch set."""

    name: str
    task: Task
    index: Artefact
    artefact: Artefact
    tested: bool  # it is a task of this study

    @property
    def contents(self) -> str:
        """What its patch set holds by now; before it is there, a name for it."""
        return contents(self.artefact.folder) if self.artefact.done() else self.artefact.fingerprint

    def seen(self, fold: int | None, seed: int) -> str:
        """What a checkpoint's fingerprint covers: its patches, and which of its images a pretraining may see."""
        return fingerprint([self.contents, sorted(train_rows(self.task, fold, seed))])


def plan_sources(
    file: StudyFile, home: Storage, patch_sets: Iterable[str], tasks: Mapping[str, TaskPlan]
) -> dict[str, SourcePlan]:
    """The labelled sets that checkpoints name under `patches` or that join them, by name.

    A name is a patch set of the study, else one of its tasks, else a card; what is none of these is passed by. One that
    a patch set and the task that is made from it share is the task. Raises RequestError for a name that a patch set and
    another task share, and for a card that cannot be used.
    """
    own = set(patch_sets)
    for name in own & set(tasks):
        if tasks[name].task.card.own_set != name:
            raise RequestError(f"patches.{name}: a task of this study has the same name; give the patch set another")
    plans = {}
    for name in _names(file.study, tasks):
        if (name in own and name not in tasks) or "/" in name:
            continue
        if name in tasks:
            task, index = tasks[name].task, tasks[name].artefact
        else:
            card = load_source_card(name, file)
            if card is None:
                continue
            task, index = find_task(card, file.study, home)
        place = f"{name}+source" if name in own else name  # the patch set that it is made from has the other
        artefact = Artefact(home.at("patches", place), source_inputs(task, file.study.seed))
        plans[name] = SourcePlan(name, task, index, artefact, name in tasks)
    return plans


def to_write(plan: SourcePlan) -> bool:
    """Whether its patch set is not complete, or lacks images that failed and are tried again."""
    return not plan.artefact.done() or bool(failed_slides(plan.artefact.folder))


def make_source(plan: SourcePlan, *, seed: int, compute: Compute, progress: Progress) -> None:
    """Write its patch set. Ray is initialised. Raises WorkError when none of its images can be written."""
    from raysweep.tasks.write_source import write_source

    write_source(plan.task, plan.artefact, seed=seed, workers=compute.tile_workers, progress=progress)


def _names(study: Study, tasks: Iterable[str]) -> list[str]:
    """Every source that a checkpoint, or a point of its grid, may have."""
    names: dict[str, None] = {}
    for spec in study.checkpoints.values():
        points: list[Any] = [spec.patches, *spec.grid.get("patches", [])]
        for patches in points:
            names |= dict.fromkeys([patches] if isinstance(patches, str) else patches or [])
        if spec.join:
            names |= dict.fromkeys(tasks)
    return [str(name) for name in names]
