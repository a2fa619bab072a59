"""What a metric is, at each level. To add one, write a module here and register it; see the package.

Every value is a function of counts that are summed with weights, or of scores that are ranked with weights, so that a
resample of units is a row of weights and thousands of them are one matrix product.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np

from raysweep.transfer.metrics.rows import Rows

Level = Literal["sample", "unit", "ranking"]


class Metric(ABC):
    """A number from predictions.

    name: as cards write it. kinds: of tasks that it fits. bounds: its lowest and highest value. columns: of the
    prediction file, what it is computed from. level: sample | unit | ranking. by_class: whether it compares classes or
    is a mean over them.
    """

    level: ClassVar[Level]
    kinds: ClassVar[frozenset[str]]
    columns: tuple[str, ...]
    bounds: tuple[float, float] = (0.0, 1.0)
    by_class: bool = False

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def many(self, rows: Rows, groups: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The value (B,) under each of B rows of weights (B, n_groups); nan where undefined.

        groups: (n_rows,) the group of each row. A weight says how often a group was drawn. A metric of units needs
        groups that keep the rows of a unit together.
        """

    @abstractmethod
    def per_class(self, rows: Rows) -> np.ndarray:
        """One value for each class of the card (classes,); nan where undefined."""

    def mass(self, rows: Rows) -> np.ndarray:
        """How much each row counts in the value by what it is, not by its prediction: (n_rows,), to a factor."""
        return np.ones(len(rows))

    def held(self, rows: Rows) -> np.ndarray:
        """Which classes each row is labelled with: bool (n_rows, classes)."""
        if "label" in self.columns:
            return np.eye(rows.n_classes, dtype=bool)[rows.labels]
        return rows.matrix("tp") + rows.matrix("fn") > 0


class Additive(Metric):
    """Level sample: each sample has a vector of counts, and the value is a function of their sum.

    A unit that several folds tested (divisions may overlap) counts with the mean of its vectors. Where all folds
    tested the same samples (a further test set), the value is the mean over the folds' models.
    """

    level: ClassVar[Level] = "sample"

    @abstractmethod
    def vectors(self, rows: Rows) -> np.ndarray:
        """Counts of each row (n_rows, d)."""

    @abstractmethod
    def value(self, sums: np.ndarray) -> np.ndarray:
        """The value (B,) of summed counts (B, d)."""

    @abstractmethod
    def of_class(self, sums: np.ndarray) -> np.ndarray:
        """The values (B, classes) of summed counts (B, d)."""

    def many(self, rows: Rows, groups: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return self._over_folds(rows, groups, weights, self.value)

    def per_class(self, rows: Rows) -> np.ndarray:
        return self._over_folds(rows, np.zeros(len(rows), np.int64), np.ones((1, 1)), self.of_class)[0]

    def _over_folds(
        self, rows: Rows, groups: np.ndarray, weights: np.ndarray, function: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        vectors, chosen = self._independent(rows)
        groups, folds = groups[chosen], rows.folds[chosen]
        if rows.same_test:
            parts = [(vectors[folds == fold], groups[folds == fold]) for fold in range(rows.n_folds)]
        else:
            times = rows.times_tested[rows.units[chosen]]
            parts = [(vectors if (times == 1).all() else vectors / times[:, None], groups)]
        return nanmean(np.stack([function(weights @ grouped(v, g, weights.shape[1])) for v, g in parts], axis=-1))

    def _independent(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """The vectors that are summed, and a row that says the group and fold of each."""
        return self.vectors(rows), np.arange(len(rows))


class OfUnits(Additive):
    """Level unit: the counts of a unit's samples are summed, and a vector made from that sum is what adds up.

    What its unit is (a patient, if the card says so) is that of the card.
    """

    level = "unit"

    @abstractmethod
    def of_unit(self, sums: np.ndarray) -> np.ndarray:
        """Vectors of units (U, e) from the summed counts of their samples (U, d)."""

    def _independent(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        of_row, first = rows.pairs
        return self.of_unit(grouped(self.vectors(rows), of_row, len(first))), first


class Ranking(Metric):
    """Level ranking: scores are compared with each other.

    Scores of different models have no common scale, so it is computed within each fold; the value is the mean over the
    folds where it is defined. Two classes: that of the last class; more: the mean over the classes where it is defined,
    each against the rest. With `by_unit` a unit is ranked by the mean of its samples' scores, and its class is that of
    most of its samples, the first of equals.
    """

    level = "ranking"
    kinds = frozenset({"classification"})
    columns = ("label", "scores")
    by_class = True

    def __init__(self, name: str, *, by_unit: bool = False) -> None:
        super().__init__(name)
        self.by_unit = by_unit

    @abstractmethod
    def ranked(self, scores: np.ndarray, positive: np.ndarray, groups: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The value (B,) of scores (n,) for telling positive (n,) rows from others, under weights (B, n_groups) of the
        groups (n,) that they are in."""

    def many(self, rows: Rows, groups: np.ndarray, weights: np.ndarray) -> np.ndarray:
        classes = [rows.n_classes - 1] if rows.n_classes == 2 else list(range(rows.n_classes))
        return nanmean(np.stack([nanmean(part) for part in self._within(rows, groups, weights, classes)], axis=-1))

    def per_class(self, rows: Rows) -> np.ndarray:
        groups, classes = np.zeros(len(rows), np.int64), list(range(rows.n_classes))
        return nanmean(np.stack(self._within(rows, groups, np.ones((1, 1)), classes), axis=-1))[0]

    def _within(self, rows: Rows, groups: np.ndarray, weights: np.ndarray, classes: list[int]) -> list[np.ndarray]:
        """For each fold (B, len(classes))."""
        labels, scores, folds = rows.labels, rows.scores, rows.folds
        if self.by_unit:
            of_row, first = rows.pairs
            n_samples = np.bincount(of_row)[:, None]
            labels = grouped(np.eye(rows.n_classes)[labels], of_row, len(first)).argmax(1)
            means = grouped(scores, of_row, len(first)) / n_samples
            scores = means.astype(np.float32)  # as fine as scores are: rounding must not part equal ones
            groups, folds = groups[first], folds[first]
        out = []
        for fold in range(rows.n_folds):
            here = np.flatnonzero(folds == fold)
            columns = [self.ranked(scores[here, c], labels[here] == c, groups[here], weights) for c in classes]
            out.append(np.stack(columns, axis=1))
        return out


def grouped(vectors: np.ndarray, groups: np.ndarray, n_groups: int) -> np.ndarray:
    """Sums of vectors (n, d) within each group (n,): float64 (n_groups, d)."""
    out = np.zeros((n_groups, vectors.shape[1]))
    if len(vectors):
        order = np.argsort(groups, kind="stable")
        present, starts = np.unique(groups[order], return_index=True)
        out[present] = np.add.reduceat(vectors[order].astype(np.float64), starts, axis=0)
    return out


def divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, nan where the whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)


def nanmean(values: np.ndarray) -> np.ndarray:
    """Mean over the defined values of the last axis, nan where none is."""
    defined = ~np.isnan(values)
    return divide(np.where(defined, values, 0.0).sum(-1), defined.sum(-1).astype(np.float64))
