"""The further test sets of a study's tasks: what of them is tested, and that nothing of it is trained on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from raysweep.errors import RequestError
from raysweep.storage import Artefact
from raysweep.study.matching import Shown, TaskUnits
from raysweep.tasks.further import further_samples
from raysweep.tasks.splits import Fold
from raysweep.tasks.task import Task

_NAMED = 3  # units that one sentence names


@dataclass(frozen=True)
class FurtherSet:
    """A further test set: its samples, and the folder of its index, which it has as a task of its own."""

    task: Task
    artefact: Artefact

    @property
    def name(self) -> str:
        return self.task.card.name

    @cached_property
    def n_tested(self) -> int:
        """How many of its samples are tested."""
        return len(further_samples(self.task))

    @cached_property
    def units(self) -> frozenset[str]:
        """The units that are tested."""
        return frozenset(self.task.samples[index].unit for index in further_samples(self.task))

    @property
    def part(self) -> str:
        """Which of its samples these are, in words."""
        return "its own test part" if self.task.card.splits.type in ("given", "file") else "all of it"


def check_apart(further: FurtherSet, task: Task, divisions: Iterable[Fold]) -> None:
    """Raise RequestError when a further test set tests a unit that the task trains on in some division.

    Units are told by what `TaskUnits` goes by, and by their names where both sets stand in one folder.
    """
    pool = sorted({index for fold in divisions for index in (*fold.train, *(fold.val or ()))})
    shown = _shown(task, pool)
    shared = TaskUnits(further.task).units_in(shown) & further.units
    if further.task.card.root == task.card.root and further.task.card.unit == task.card.unit:
        shared |= further.units & shown.units
    if shared:
        some = sorted(shared)
        names = ", ".join(some[:_NAMED]) + (f" and {len(some) - _NAMED} more" if len(some) > _NAMED else "")
        raise RequestError(
            f"task {task.card.name}: test_sets: {further.name} tests {len(some)} {further.task.card.unit}"
            f"{'s' * (len(some) > 1)} that the task trains on ({names}); take them out of one of the two sets"
        )


def _shown(task: Task, indices: Sequence[int]) -> Shown:
    """Samples of a task as something that weights are shown."""
    card, wanted = task.card, set(indices)
    rows = [pair for index, pair in enumerate(task.image_identities()) if index in wanted]
    return Shown(
        card.name, frozenset(sample.id for sample, _ in rows), frozenset(sample.unit for sample, _ in rows),
        frozenset(identity for _, identity in rows if identity), card.unit == "patient", True, tuple(card.collection),
    )  # fmt: skip
