"""How many labels a cell may use: nested draws from the training part of a fold, with val carved out of them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from raysweep.errors import RequestError
from raysweep.randomness import stable_hash
from raysweep.tasks.columns import Columns
from raysweep.tasks.partition import partition
from raysweep.tasks.splits import Fold
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


class Draws:
    """The draws of all fractions of a fold's training images (`fraction_of="images"`) or training units (`"units"`).

    They are nested: a smaller fraction is part of every larger one, so the order is worked out once for all of them.
    Classes keep their proportions; within a class every unit gives one image before any gives a second. The part `val`
    of what was drawn is held out: by unit where at least UNITS_FOR_VAL units were drawn and every class stays in train,
    else by image. A given val split is drawn from at the same fraction instead. A function of the seed, the task's
    name, the fold, the draw and the samples' ids and classes; the checkpoint and the protocol have no part in it.
    """

    def __init__(self, task: Task, fold: Fold, *, fraction_of: str, draw: int, seed: int) -> None:
        self._card, self._fold, self._columns = task.card, fold.index, task.columns
        stream = (seed, "fraction", task.card.name, fold.index, draw)
        self._train = _Part(self._columns, fold.train, (*stream, "train"), fraction_of)
        self._given = None if fold.val is None else _Part(self._columns, fold.val, (*stream, "val"), fraction_of)
        self._held = _Order(self._columns, (seed, "val", task.card.name, fold.index, draw))

    def at(self, fraction: float, val: float) -> Draw:
        """The draw of a fraction. With `val` 0 all of it is for training, that of a given val split too.

        Raises RequestError when a class is left without a training example, or nothing is left for val.
        """
        columns, pool = self._columns, self._train.first(fraction)
        if self._given is not None:
            train, held = pool, self._given.first(fraction)
        else:
            train, held = self._carve(pool, val) if val else (pool, pool[:0])
        if not val:
            train, held = np.concatenate([train, held]), held[:0]
        drawn = np.concatenate([train, held])
        empty = (columns.classes(self._train.indices) > 0) & (columns.classes(train) == 0)
        if empty.any():
            raise RequestError(
                f"fractions: {fraction:g} of task {self._card.name} leaves class "
                f"{self._card.classes[int(np.argmax(empty))]} without an example to train on ({len(drawn)} images "
                f"drawn in fold {self._fold}); raise the fraction"
            )
        if val and not len(held):
            raise RequestError(
                f"fractions: {fraction:g} of task {self._card.name} is {len(drawn)} images, "
                "which leaves none for val; raise the fraction"
            )
        n_units, n_val_units = len(columns.present(drawn)), len(columns.present(held))
        return Draw(np.sort(train).tolist(), np.sort(held).tolist(), len(drawn), n_units, n_val_units)

    def _carve(self, pool: np.ndarray, val: float) -> tuple[np.ndarray, np.ndarray]:
        """Train and val: by unit where that leaves every class in train, else by image."""
        columns = self._columns
        units, counts = columns.counts(pool)
        if len(units) >= UNITS_FOR_VAL and self._card.unit != "image":
            order = columns.by_luck(units, self._held.stream)
            dealt = partition(counts[np.searchsorted(units, order)], [1 - val, val])
            is_held = np.zeros(len(columns.units), dtype=bool)
            is_held[order[dealt == 1]] = True
            held = is_held[columns.unit[pool]]
            if held.any() and not (counts[:, :-1].sum(0) > 0)[columns.classes(pool[~held]) == 0].any():
                return pool[~held], pool[held]
        return self._carve_images(pool, val)

    def _carve_images(self, pool: np.ndarray, val: float) -> tuple[np.ndarray, np.ndarray]:
        """Part of the images of every class, at least one in all; a class with a single image keeps it for train."""
        columns, order = self._columns, self._held.of(pool)
        left = columns.classes(pool).tolist()
        spare = min(_count(val, len(order)), len(order) - 1)
        held: list[int] = []
        for index, stratum in zip(order.tolist(), columns.stratum[order].tolist(), strict=True):
            if len(held) >= spare:
                break
            classes = columns.strata[stratum]
            if all(left[c] > 1 for c in classes):
                held.append(index)
                for c in classes:
                    left[c] -= 1
        return pool[~np.isin(pool, held)], np.array(held, dtype=np.int64)


def draw_fraction(
    task: Task, fold: Fold, *, fraction: float, fraction_of: str, val: float, draw: int, seed: int
) -> Draw:
    """One draw, where no other fraction of it is wanted: see `Draws`."""
    return Draws(task, fold, fraction_of=fraction_of, draw=draw, seed=seed).at(fraction, val)


def part_of(task: Task, indices: list[int], images: int, *, seed: int) -> list[int]:
    """At most so many of some samples, ascending: classes in proportion, and as many units of each as can be.

    A function of the seed, the task's name and the samples' ids and classes alone.
    """
    if len(indices) <= images:
        return indices
    order = _Order(task.columns, (seed, "part", task.card.name)).of(np.array(indices, dtype=np.int64))
    return np.sort(order[:images]).tolist()


def _count(fraction: float, of: int) -> int:
    return min(of, max(1, int(fraction * of + 0.5)))


class _Part:
    """The samples of one side of a fold, and which of them come first."""

    def __init__(self, columns: Columns, part: list[int], stream: tuple, fraction_of: str) -> None:
        self.indices = np.array(part, dtype=np.int64)
        self._columns, self._stream, self._by_unit = columns, stream, fraction_of == "units"

    def first(self, fraction: float) -> np.ndarray:
        """The first of the images, or the images of the first units."""
        of = self._units if self._by_unit else self.indices
        count = _count(fraction, len(of))
        if count == len(of):
            return self.indices
        if not self._by_unit:
            return self._images[:count]
        kept = np.zeros(len(self._columns.units), dtype=bool)
        kept[self._unit_order[:count]] = True
        return self.indices[kept[self._columns.unit[self.indices]]]

    @cached_property
    def _units(self) -> np.ndarray:
        return self._columns.present(self.indices)

    @cached_property
    def _images(self) -> np.ndarray:
        return _Order(self._columns, self._stream).of(self.indices)

    @cached_property
    def _unit_order(self) -> np.ndarray:
        """Units by luck, but a class not yet drawn comes first, then the best of the next few for the proportions."""
        units, counts = self._columns.counts(self.indices)
        waiting = self._columns.by_luck(units, (*self._stream, "unit"))
        row = counts[np.searchsorted(units, waiting)]
        total = row.sum(axis=0)
        target = total[:-1] / total[-1]
        missing, held = target > 0, np.zeros_like(total)
        order: list[int] = []
        left = np.ones(len(waiting), dtype=bool)
        window: list[int] = []  # the next few that are left, in their order
        ahead = 0
        for _ in range(len(waiting)):
            while len(window) < _WINDOW and ahead < len(waiting):
                window += [ahead] if left[ahead] else []
                ahead += 1
            among = np.array(window if order else window[:1], dtype=np.int64)
            if order and missing.any():
                among = np.flatnonzero(left & (row[:, :-1][:, missing] > 0).any(axis=1))
            after = held + row[among]
            gap = (after[:, :-1] / after[:, -1:] - target) ** 2 / np.maximum(target, 1e-12)
            chosen = int(among[np.argmin(gap.sum(axis=1))])
            left[chosen] = False
            if chosen in window:
                window.remove(chosen)
            held = held + row[chosen]
            missing = missing & (held[:-1] == 0)
            order.append(chosen)
        return waiting[order]


class _Order:
    """An order of images of which every prefix holds the classes in proportion, and within a class as many units as it
    can. No image is hashed twice."""

    def __init__(self, columns: Columns, stream: tuple) -> None:
        self.stream, self._columns = stream, columns

    def of(self, part: np.ndarray) -> np.ndarray:
        """Samples (n,) in this order."""
        columns, n = self._columns, len(part)
        luck = np.zeros(len(columns.units), dtype=np.int64)
        present = columns.present(part)
        luck[columns.by_luck(present, (*self.stream, "unit"))] = np.arange(len(present))
        ties = [stable_hash(*self.stream, "tie", repr(stratum)) for stratum in columns.strata]
        place = np.argsort(np.argsort(np.array(ties, dtype=np.uint64), kind="stable"))
        stratum, unit = place[columns.stratum[part]], columns.unit[part]
        # images of a unit in a stratum take turns, in the order of their hashes
        group = stratum * len(luck) + unit
        size, which = self._sizes(group)
        turn = np.zeros(n, dtype=np.int64)
        several = np.flatnonzero(size[which] > 1)
        if len(several):
            by = several[np.lexsort((self._hashes(part[several]), group[several]))]
            starts = np.flatnonzero(np.diff(group[by], prepend=-1))
            turn[by] = np.arange(len(by)) - np.repeat(starts, np.diff(starts, append=len(by)))
        # within a stratum by turn, then by the luck of units; strata are merged by the share that came before
        by = np.argsort((stratum * (turn.max(initial=0) + 1) + turn) * len(luck) + luck[unit])
        in_stratum = np.bincount(stratum, minlength=len(ties))
        before = np.cumsum(in_stratum) - in_stratum
        share = (np.arange(n) - before[stratum[by]] + 0.5) / in_stratum[stratum[by]]
        return part[by[np.argsort(share, kind="stable")]]

    @staticmethod
    def _sizes(group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many images each group has, and the group of each image."""
        _, which, size = np.unique(group, return_inverse=True, return_counts=True)
        return size, which

    def _hashes(self, indices: np.ndarray) -> np.ndarray:
        new = indices[~self._known[indices]]
        self._hash[new] = self._columns.ids.hashes((*self.stream, "image"), new)
        self._known[new] = True
        return self._hash[indices]

    @cached_property
    def _hash(self) -> np.ndarray:
        return np.zeros(len(self._columns.unit), dtype=np.uint64)

    @cached_property
    def _known(self) -> np.ndarray:
        return np.zeros(len(self._columns.unit), dtype=bool)
