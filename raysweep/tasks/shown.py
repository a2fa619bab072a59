"""Which tested images of a task people are shown: the same for every checkpoint, protocol, fraction and repeat."""

from collections.abc import Sequence

import numpy as np

from raysweep.randomness import Names
from raysweep.tasks.splits import Fold
from raysweep.tasks.task import Task

MOST_SHOWN = 100


def shown_samples(task: Task, divisions: Sequence[Fold], seed: int) -> list[list[int]]:
    """For each division, indices of its test samples that are shown: ascending, at most MOST_SHOWN over all.

    They are drawn by the study's seed, the task's name and the ids of what is tested, whatever the order of samples. An
    image that several divisions test is shown as the first of them has it.
    """
    tested = np.unique(np.concatenate([np.array(fold.test, dtype=np.int64) for fold in divisions]))
    luck = Names(task.samples[i].id for i in tested).hashes(("shown", seed, task.card.name))
    left = set(tested[np.argsort(luck, kind="stable")][:MOST_SHOWN].tolist())
    shown = []
    for fold in divisions:
        shown.append(sorted(left & set(fold.test)))
        left -= set(fold.test)
    return shown
