"""Which samples are trained on and which are tested: by unit, never a unit on both sides."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raysweep.errors import RequestError
from raysweep.tasks.partition import partition
from raysweep.tasks.task import Task

_ROUNDING = 1e-9  # 0.07 * 100 is a little more than 7, and still 7


@dataclass(frozen=True)
class Fold:
    """One division of a task. Numbers are indices into `task.samples`, ascending; `val` is set where it is named."""

    index: int
    train: list[int]
    val: list[int] | None
    test: list[int]


def folds(task: Task, seed: int) -> list[Fold]:
    """The task's divisions.

    One for given, file and holdout splits; `k` for folds, which test every unit once; `draws` for shares, whose val and
    test parts share no unit; one for each column of a repeated table, where a unit may be tested several times.

    Drawn divisions are a function of the seed, the task's name, its units and their classes; the order of samples does
    not matter. Holdout and folds spread classes over train and test as evenly as whole units allow. Shares take, in
    each class, the parts of its units for val and test, rounded up, as Kawai et al. 2023 do per organ; a unit is of the
    class that most of its samples show.

    With repeated divisions a unit's score is its mean over the divisions that test it (Spanhol et al., IEEE Trans.
    Biomed. Eng. 63, 2016): predictions hold its samples once for each of them, told apart by `fold`, and metrics
    take the mean of a unit's counts over the folds that tested it.

    Raises RequestError when there are too few units, or when a class occurs in so few units that train would lack it.
    """
    splits = task.card.splits
    if splits.type in ("given", "file"):
        made = [_by_name(task, 0, [sample.split for sample in task.samples])]
    elif splits.type == "repeated":
        names = range(len(splits.divisions))
        made = [_by_name(task, index, [sample.sides[index] for sample in task.samples]) for index in names]
    elif splits.type == "shares":
        made = _shares(task, seed)
    else:
        made = _dealt(task, seed)
    for fold in made:
        _check_train(task, fold)
    return made


def _by_name(task: Task, index: int, sides: Sequence[str | None]) -> Fold:
    of = {name: [i for i, side in enumerate(sides) if side == name] for name in ("train", "val", "test")}
    return Fold(index, of["train"], of["val"] or None, of["test"])


def _dealt(task: Task, seed: int) -> list[Fold]:
    """Units dealt evenly: to k groups that are tested in turn, or to train and test."""
    splits, columns = task.card.splits, task.columns
    units, counts = columns.counts(np.arange(len(task.samples)))
    order = columns.by_luck(units, (seed, "folds", task.card.name))
    groups = splits.k if splits.type == "folds" else 2
    if len(order) < groups:
        raise RequestError(
            f"card {task.card.name}: splits: {len(order)} {task.card.unit}s cannot be divided into {groups} groups"
        )
    shares = [1 / groups] * groups if splits.type == "folds" else [1 - splits.test, splits.test]
    group = np.empty(len(units), dtype=int)
    group[order] = partition(counts[order], shares)
    tested = range(groups) if splits.type == "folds" else [1]
    of_sample = group[columns.unit]
    return [
        Fold(index, np.flatnonzero(of_sample != test).tolist(), None, np.flatnonzero(of_sample == test).tolist())
        for index, test in enumerate(tested)
    ]


def _shares(task: Task, seed: int) -> list[Fold]:
    """For each draw, parts of the units of each class."""
    splits, columns = task.card.splits, task.columns
    units, counts = columns.counts(np.arange(len(task.samples)))
    order = columns.by_luck(units, (seed, "shares", task.card.name))
    mostly = counts[:, :-1].argmax(axis=1)
    side = np.full((splits.draws, len(units)), "train", dtype="<U5")
    for label in np.unique(mostly):
        members = order[mostly[order] == label]
        n = {name: math.ceil(share * len(members) - _ROUNDING)
             for name, share in zip(("val", "test"), splits.shares[1:], strict=True)}  # fmt: skip
        needed = max(splits.draws * sum(n.values()), sum(n.values()) + 1)
        if needed > len(members):
            raise RequestError(
                f"card {task.card.name}: splits: class {task.card.classes[label]} has {len(members)} "
                f"{task.card.unit}s; {splits.draws} draws of {n['val']} for val and {n['test']} for test, with one "
                f"left to train on, need {needed}: lower splits.draws, or use holdout"
            )
        start = 0
        for draw in range(splits.draws):
            for name, size in n.items():
                side[draw, members[start : start + size]] = name
                start += size
    return [_by_name(task, draw, side[draw][columns.unit].tolist()) for draw in range(splits.draws)]


def _check_train(task: Task, fold: Fold) -> None:
    columns = task.columns
    shown = columns.classes(np.arange(len(task.samples))) > 0
    missing = np.flatnonzero(shown & (columns.classes(np.array(fold.train, dtype=np.int64)) == 0))
    if len(missing):
        name = task.card.classes[missing[0]]
        n = len({s.unit for s in task.samples if missing[0] in s.classes})
        raise RequestError(
            f"card {task.card.name}: splits: fold {fold.index} has no image of class {name} to train on: "
            f"it occurs in {n} {task.card.unit}{'s' if n > 1 else ''} only; use fewer folds or leave the class out"
        )
