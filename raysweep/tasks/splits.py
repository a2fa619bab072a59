"""Which samples are trained on and which are tested: by unit, never a unit on both sides."""

from dataclasses import dataclass

import numpy as np

from raysweep.errors import RequestError
from raysweep.randomness import stable_hash
from raysweep.tasks.partition import partition
from raysweep.tasks.task import Task


@dataclass(frozen=True)
class Fold:
    """One division of a task. Numbers are indices into `task.samples`, ascending; `val` is set for given splits."""

    index: int
    train: list[int]
    val: list[int] | None
    test: list[int]


def folds(task: Task, seed: int) -> list[Fold]:
    """The task's divisions: one for given and holdout splits, `k` for folds, which test every unit once.

    A function of the seed, the task's name, its units and their classes; the order of samples does not matter.
    Classes are spread over train and test as evenly as whole units allow. Raises RequestError when there are too
    few units, or when a class occurs in so few units that train would lack it.
    """
    splits = task.card.splits
    if splits.type == "given":
        of = {name: [i for i, s in enumerate(task.samples) if s.split == name] for name in ("train", "val", "test")}
        made = [Fold(0, of["train"], of["val"] or None, of["test"])]
    else:
        units, counts = unit_counts(task, range(len(task.samples)))
        order = sorted(units, key=lambda unit: (stable_hash(seed, "folds", task.card.name, unit), unit))
        groups = splits.k if splits.type == "folds" else 2
        if len(order) < groups:
            raise RequestError(
                f"card {task.card.name}: splits: {len(order)} {task.card.unit}s cannot be divided into {groups} groups"
            )
        shares = [1 / groups] * groups if splits.type == "folds" else [1 - splits.test, splits.test]
        dealt = partition(np.stack([counts[unit] for unit in order]), shares)
        group = dict(zip(order, dealt.tolist(), strict=True))
        tested = range(groups) if splits.type == "folds" else [1]
        made = [_fold(task, index, group, test) for index, test in enumerate(tested)]
    for fold in made:
        _check_train(task, fold)
    return made


def unit_counts(task: Task, indices: list[int] | range) -> tuple[list[str], dict[str, np.ndarray]]:
    """The units of some samples, in order of appearance, and their counts there.

    Counts are int64 (C + 1,): samples that show each class, and samples in all.
    """
    counts: dict[str, np.ndarray] = {}
    for index in indices:
        sample = task.samples[index]
        row = counts.setdefault(sample.unit, np.zeros(len(task.card.classes) + 1, dtype=np.int64))
        row[[*sample.classes, -1]] += 1
    return list(counts), counts


def _fold(task: Task, index: int, group: dict[str, int], tested: int) -> Fold:
    train: list[int] = []
    test: list[int] = []
    for at, sample in enumerate(task.samples):
        (test if group[sample.unit] == tested else train).append(at)
    return Fold(index, train, None, test)


def _check_train(task: Task, fold: Fold) -> None:
    shown = {c for sample in task.samples for c in sample.classes}
    trained = {c for index in fold.train for c in task.samples[index].classes}
    for missing in sorted(shown - trained):
        name = task.card.classes[missing]
        n = len({s.unit for s in task.samples if missing in s.classes})
        raise RequestError(
            f"card {task.card.name}: splits: fold {fold.index} has no image of class {name} to train on: "
            f"it occurs in {n} {task.card.unit}{'s' if n > 1 else ''} only; use fewer folds or leave the class out"
        )
