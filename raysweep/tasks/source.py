"""A labelled set as a source of pretraining: what its patch set depends on, and which of its images may be seen."""

from typing import Any

from raysweep.patches.schema import FORMAT as PATCH_FORMAT
from raysweep.storage import fingerprint
from raysweep.tasks.card import Card
from raysweep.tasks.splits import folds
from raysweep.tasks.task import Task

FORMAT = 2  # part of the fingerprint: raise it when the same images give other patches


def window_px(card: Card) -> int:
    """Edge, in pixels of the files, of the windows that large images are cut into: that of what the task's network
    sees, `px` of the card at its `at_mpp`."""
    scale = card.at_mpp / card.mpp if card.at_mpp and card.mpp else 1.0
    return max(1, round(card.px * scale))


def source_inputs(task: Task, seed: int) -> dict[str, Any]:
    """What the fingerprint of a labelled set's patch set covers; `seed` is that of the shuffle.

    The images, their units and labels, and the windows. Not its masks, splits and metrics, which no patch shows: a set
    that is divided in another way is not written again. Its size does not grow with the samples.
    """
    card = task.card
    rows = [[sample.id, sample.unit, sample.label, identity] for sample, identity in task.image_identities()]
    return {
        "stage": "source",
        "format": [FORMAT, PATCH_FORMAT],
        "seed": seed,
        "mpp": card.mpp,
        "window_px": window_px(card),
        "classes": label_names(card),
        "n_samples": len(rows),
        "samples": fingerprint(sorted(rows, key=lambda row: row[0])),
    }


def label_names(card: Card) -> list[str]:
    """The class names that a source's labels index; none for a segmentation set, whose images have no label."""
    return list(card.classes) if card.kind == "classification" else []


def train_rows(task: Task, fold: int | None, seed: int) -> set[str]:
    """Ids of the samples that a pretraining may see: the train split of a fold, never its val or test images.

    Without a `fold` those that no result of the set's own official split rests on: its train part, or every image of a
    set that has no such split. `seed` is the study's. Raises RequestError as `folds`.
    """
    if fold is not None:
        return {task.samples[index].id for index in folds(task, seed)[fold].train}
    if not task.card.splits.fixed:
        return {sample.id for sample in task.samples}
    return {s.id for s in task.samples if set(s.sides or [s.split]) == {"train"}}  # in every division
