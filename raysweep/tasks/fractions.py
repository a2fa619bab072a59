"""How many labels a cell may use: nested draws from the training part of a fold, with val carved out of them."""

from collections import Counter, defaultdict
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from raysweep.errors import RequestError
from raysweep.randomness import stable_hash
from raysweep.tasks.partition import partition
from raysweep.tasks.splits import Fold, unit_counts
from raysweep.tasks.task import Task

UNITS_FOR_VAL = 5  # with fewer units, one of them is too poor a sample of the others to choose settings by
_WINDOW = 3  # candidates for the next unit: enough to keep proportions, few enough that draws differ


@dataclass(frozen=True)
class Draw:
    """Labelled samples of one fraction: indices into `task.samples`, ascending. The first two counts include val."""

    train: list[int]
    val: list[int]
    n_images: int
    n_units: int
    n_val_units: int


def draw_fraction(
    task: Task, fold: Fold, *, fraction: float, fraction_of: str, val: float, draw: int, seed: int
) -> Draw:
    """Draw a fraction of a fold's training images (`fraction_of="images"`) or training units (`"units"`).

    For one `draw` the drawn samples are nested: a smaller fraction is part of every larger one. Classes keep their
    proportions; within a class every unit gives one image before any gives a second. The part `val` of what was
    drawn is held out: by unit where at least UNITS_FOR_VAL units were drawn and every class stays in train, else
    by image. A given val split is drawn from at the same fraction instead. With `val` 0 all that was drawn is for
    training, that of a given val split too. A function of the seed, the task's name, the fold, the draw and the
    samples' ids and classes; the checkpoint and the protocol have no part in it.

    Raises RequestError when a class is left without a training example, or nothing is left for val.
    """
    pool = _pool(task, fold, fold.train, "train", fraction, fraction_of, draw, seed)
    if fold.val is not None:
        train, held = pool, _pool(task, fold, fold.val, "val", fraction, fraction_of, draw, seed)
    else:
        train, held = _carve(task, fold, pool, val, draw, seed) if val else (pool, [])
    if not val:
        train, held = train + held, []
    wanted = {c for index in fold.train for c in task.samples[index].classes}
    got = {c for index in train for c in task.samples[index].classes}
    drawn = train + held
    for missing in sorted(wanted - got):
        raise RequestError(
            f"fractions: {fraction:g} of task {task.card.name} leaves class {task.card.classes[missing]} without an "
            f"example to train on ({len(drawn)} images drawn in fold {fold.index}); raise the fraction"
        )
    if val and not held:
        raise RequestError(
            f"fractions: {fraction:g} of task {task.card.name} is {len(drawn)} images, "
            "which leaves none for val; raise the fraction"
        )
    units, val_units = ({task.samples[index].unit for index in indices} for indices in (drawn, held))
    return Draw(sorted(train), sorted(held), len(drawn), len(units), len(val_units))


def part_of(task: Task, indices: list[int], images: int, *, seed: int) -> list[int]:
    """At most so many of some samples, ascending: classes in proportion, and as many units of each as can be.

    A function of the seed, the task's name and the samples' ids and classes alone.
    """
    if len(indices) <= images:
        return indices
    return sorted(_image_order(task, indices, (seed, "part", task.card.name))[:images])


def _pool(
    task: Task, fold: Fold, part: list[int], name: str, fraction: float, fraction_of: str, draw: int, seed: int
) -> list[int]:
    """The first of the part's images, or units, in this draw's order."""
    stream = (seed, "fraction", task.card.name, fold.index, draw, name)
    if fraction_of == "images":
        order = _image_order(task, part, stream)
        return order[: _count(fraction, len(order))]
    units = _unit_order(task, part, stream)
    kept = set(units[: _count(fraction, len(units))])
    return [index for index in part if task.samples[index].unit in kept]


def _count(fraction: float, of: int) -> int:
    return min(of, max(1, int(fraction * of + 0.5)))


def _image_order(task: Task, part: list[int], stream: tuple) -> list[int]:
    """Every prefix holds the classes in proportion, and within a class as many units as it can."""
    strata: dict[Hashable, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index in part:
        sample = task.samples[index]
        strata[sample.classes][sample.unit].append(index)
    placed = []
    for stratum, units in strata.items():
        turns = []
        for unit, indices in units.items():
            luck = stable_hash(*stream, "unit", unit)
            ordered = sorted(indices, key=lambda index: _image_key(task, index, stream))
            turns += [(turn, luck, unit, index) for turn, index in enumerate(ordered)]
        turns.sort()
        tie = stable_hash(*stream, "tie", repr(stratum))
        placed += [((rank + 0.5) / len(turns), tie, index) for rank, (*_, index) in enumerate(turns)]
    placed.sort()
    return [index for *_, index in placed]


def _image_key(task: Task, index: int, stream: tuple) -> tuple[int, str]:
    name = task.samples[index].id
    return stable_hash(*stream, "image", name), name


def _unit_order(task: Task, part: list[int], stream: tuple) -> list[str]:
    """Units by luck, but a class not yet drawn comes first, then the best of the next few for the proportions."""
    units, counts = unit_counts(task, part)
    waiting = sorted(units, key=lambda unit: (stable_hash(*stream, "unit", unit), unit))
    total = np.sum(list(counts.values()), axis=0)
    target = total[:-1] / total[-1]
    missing = target > 0
    held = np.zeros_like(total)
    order: list[str] = []
    while waiting:
        among = list(range(min(_WINDOW if order else 1, len(waiting))))
        if order and missing.any():
            among = [i for i, unit in enumerate(waiting) if (counts[unit][:-1][missing] > 0).any()]
        after = held + np.stack([counts[waiting[i]] for i in among])
        gap = (after[:, :-1] / after[:, -1:] - target) ** 2 / np.maximum(target, 1e-12)
        chosen = waiting.pop(among[int(np.argmin(gap.sum(axis=1)))])
        held = held + counts[chosen]
        missing = missing & (held[:-1] == 0)
        order.append(chosen)
    return order


def _carve(task: Task, fold: Fold, pool: list[int], val: float, draw: int, seed: int) -> tuple[list[int], list[int]]:
    """Train and val: by unit where that leaves every class in train, else by image."""
    stream = (seed, "val", task.card.name, fold.index, draw)
    units, counts = unit_counts(task, pool)
    if len(units) >= UNITS_FOR_VAL and task.card.unit != "image":
        order = sorted(units, key=lambda unit: (stable_hash(*stream, unit), unit))
        dealt = partition(np.stack([counts[unit] for unit in order]), [1 - val, val])
        held = {unit for unit, group in zip(order, dealt, strict=True) if group == 1}
        train = [index for index in pool if task.samples[index].unit not in held]
        wanted = {c for index in pool for c in task.samples[index].classes}
        if held and wanted == {c for index in train for c in task.samples[index].classes}:
            return train, [index for index in pool if task.samples[index].unit in held]
    return _carve_images(task, pool, val, stream)


def _carve_images(task: Task, pool: list[int], val: float, stream: tuple) -> tuple[list[int], list[int]]:
    """Part of the images of every class, at least one in all; a class with a single image keeps it for train."""
    order = _image_order(task, pool, stream)
    left = Counter(c for index in order for c in task.samples[index].classes)
    wanted = _count(val, len(order))
    held: list[int] = []
    for index in order:
        classes = task.samples[index].classes
        if len(held) < wanted and len(order) - len(held) > 1 and all(left[c] > 1 for c in classes):
            held.append(index)
            for c in classes:
                left[c] -= 1
    taken = set(held)
    return [index for index in pool if index not in taken], held
