"""What a reader of results must know of a study's labelled sets: images left out, and what is on both sides."""

from collections.abc import Mapping

from raysweep.study.tasks import TaskPlan
from raysweep.tasks.copies import on_both_sides
from raysweep.tasks.splits import folds


def task_notes(tasks: Mapping[str, TaskPlan], seed: int) -> list[str]:
    """A line for each thing, of each task in turn; none where there is nothing. `seed`: the study's."""
    notes = []
    for name, plan in tasks.items():
        task = plan.task
        if task.excluded:
            n, (first, reason) = len(task.excluded), task.excluded[0]
            notes.append(
                f"task {name}: {n} of {n + len(task.samples):,} images cannot be used (first: {first}: {reason}); "
                "`raysweep datasets prepare` lists them"
            )
        notes += [f"task {name}: {words}" for words in on_both_sides(task, folds(task, seed))]
    return notes
