"""A further test set: another card's images, on which the models of a task are tested as they are."""

from dataclasses import replace
from pathlib import Path

from raysweep.errors import RequestError
from raysweep.tasks.card import OBJECT_METRICS, Card
from raysweep.tasks.layouts import layout_of
from raysweep.tasks.task import Task

_SAME_SCALE = 0.1  # part by which um per pixel may differ: as much as scanners of one nominal magnification do


def check_further(further: Card, card: Card) -> None:
    """Raise RequestError unless models of the task `card` can be tested on `further`.

    Both are of one kind, with the same classes by name in the same order, and worked at the same um per pixel, within a
    tenth; where one of them does not say its own, nothing can be told.
    """
    where = f"task {card.name}: test_sets: {further.name}"
    if further.name == card.name:
        raise RequestError(f"{where} is the task itself, whose own test part is scored anyway; take it out")
    if further.kind != card.kind:
        raise RequestError(f"{where} is a {further.kind} set, and the task is one of {card.kind}; take it out")
    if further.classes != card.classes:
        raise RequestError(
            f"{where} has the classes {', '.join(further.classes)}, and the task {', '.join(card.classes)}; write a "
            "card of the set with the task's names in the task's order"
        )
    mine, other = _scale(card), _scale(further)
    if mine and other and abs(other - mine) > _SAME_SCALE * mine:
        raise RequestError(
            f"{where} is worked at {other:g} um per pixel, and the task at {mine:g}; set at_mpp: {mine:g} in its card"
        )


def further_samples(task: Task) -> list[int]:
    """Indices of what is tested when a set is a further test set.

    Of a set that names its own test part (splits `given`, `file` and `repeated`) that part, each image once: of
    repeated divisions what any of them tests, as what none tests was published to be trained on alone. Else all
    samples.
    """
    every = range(len(task.samples))
    if not task.card.splits.fixed:
        return list(every)
    return [index for index in every if "test" in (task.samples[index].split, *task.samples[index].sides)]


def tested_like(further: Card, card: Card) -> Card:
    """The card of a further test set, seen and scored as the task's own images: its px, metrics and objects.

    Without the metrics of objects where its masks number none, unless the first of them is the task's own.
    """
    layout, options = layout_of(further)
    numbered = layout.reader(options, Path()).numbered
    kept = [name for name in card.metrics if numbered or name not in OBJECT_METRICS]
    metrics = kept if card.metric in kept else card.metrics
    return further.model_copy(update={"px": card.px, "metrics": metrics, "objects": card.objects})


def as_tested(further: Task, card: Card) -> Task:
    """The same samples with `tested_like` the task's card."""
    return replace(further, card=tested_like(further.card, card))


def _scale(card: Card) -> float | None:
    return card.at_mpp or card.mpp
