"""Intervals over test units and repeats: of one cell's value, and of the paired difference of two cells.

The value of a cell is the mean over its repeats (their finals) of a metric on the same test units. Units and repeats
are two crossed sources of chance, and an interval covers both: other units, and other repeats (another draw of labels,
another search, other seeds, and another pretraining where a checkpoint has several). `report.crossed` has the formulas.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from raysweep.report.crossed import Crossed, crossed
from raysweep.report.enough import FEWEST_PRETRAININGS, lacks_runs
from raysweep.report.two_sd import beyond_two_sd


@dataclass(frozen=True)
class Scores:
    """A metric of one cell, on all units and on parts of them.

    values: (S,) one value per repeat, on all units.
    without: (S, U) the same without each unit (or block of units) in turn.
    repeats, pretrainings: per repeat, its number and that of the pretraining it started from.
    units: names of the units, sorted. U is below len(units) when there are so many that they were dealt to blocks.
    unit: patient | slide | image. bounds: the metric's lowest and highest value.
    lack: why these test data are not enough for an interval or a verdict; empty when they are.
    train_units: labelled units of a repeat's draw, mean over repeats; 0: not known.
    """

    values: np.ndarray
    without: np.ndarray
    repeats: tuple[int, ...]
    pretrainings: tuple[int, ...]
    units: tuple[str, ...]
    unit: str = "unit"
    bounds: tuple[float, float] = (0.0, 1.0)
    lack: str = ""
    train_units: float = 0.0


@dataclass(frozen=True)
class Interval:
    """A value with its interval; `reason` says why there is none."""

    value: float
    low: float | None
    high: float | None
    n_units: int
    n_repeats: int
    reason: str = ""


@dataclass(frozen=True)
class Contrast:
    """A difference in every run: values (S,), without (S, U) as in Scores; groupings as in `crossed`.

    over: what of the test set and of the repeats it is about; contrasts with equal `over` have their columns in common.
    sides: values (S,) of the two that are subtracted. train_units: labelled units of a repeat's draw; 0: not known.
    """

    values: np.ndarray
    without: np.ndarray
    groupings: tuple[np.ndarray, ...]
    over: tuple[tuple[str, ...], tuple[int, ...]]
    sides: tuple[np.ndarray, np.ndarray] | None = None
    train_units: float = 0.0


class OneSided(Protocol):
    """What is asked of a test beside its p value: small when the difference is surely above, or below, a bound."""

    def p_above(self, bound: float) -> float: ...

    def p_below(self, bound: float) -> float: ...

    def turned(self) -> "OneSided":
        """That of the difference with the other sign."""


@dataclass(frozen=True)
class Difference:
    """A paired difference (this checkpoint minus the other one).

    low, high: interval at level 1 - alpha, of this comparison alone. p: two-sided, of no difference. p_equal, p_above:
    small when the difference is surely smaller than the margin, or surely above it. equal_low, equal_high: the interval
    at level 1 - 2 alpha that belongs to p_equal. All None when there is no interval; `reason` says why.
    lacks: it is for lack of data (too few units, repeats, or units of a class).
    one_checkpoint: one of the two has fewer than FEWEST_PRETRAININGS pretrainings.
    two_sd: whether it is beyond twice the larger standard deviation over repeats (`report.two_sd`); None: one repeat.
    found: standard error and components, where the rule that judges has one; ranks: the test of a rule that has none.
    """

    value: float
    n_units: int
    n_repeats: int
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_equal: float | None = None
    p_above: float | None = None
    equal_low: float | None = None
    equal_high: float | None = None
    reason: str = ""
    lacks: bool = False
    one_checkpoint: bool = True
    two_sd: bool | None = None
    found: Crossed | None = None
    contrast: Contrast | None = field(default=None, repr=False, compare=False)
    ranks: OneSided | None = field(default=None, repr=False, compare=False)

    @property
    def test(self) -> OneSided | None:
        """What can be tested against a bound; None where nothing was."""
        return self.ranks or self.found

    def turned(self) -> "Difference":
        """The other checkpoint minus this one, without what is one-sided (p_above)."""
        less = lambda x: None if x is None else -x  # noqa: E731
        return replace(
            self, value=-self.value, low=less(self.high), high=less(self.low), p_above=None,
            equal_low=less(self.equal_high), equal_high=less(self.equal_low),
            found=self.found and self.found.turned(),
            contrast=self.contrast and replace(self.contrast, values=-self.contrast.values,
                                               without=-self.contrast.without),
            ranks=self.ranks and self.ranks.turned(),
        )  # fmt: skip


def cell_interval(scores: Scores, alpha: float) -> Interval:
    """The mean over repeats with its t interval at level 1 - alpha on the logit scale, inside the metric's bounds.

    SE(logit) = SE / (theta (1 - theta)), theta the value's place between the bounds (delta method). On the scale of the
    metric an accuracy of 0.97 is covered in 81 % (8 units) to 90 % (30 units), on the logit's in 92 %.
    With a single repeat it covers units alone.
    """
    value, n, n_repeats = float(scores.values.mean()), len(scores.units), len(scores.repeats)
    least, most = scores.bounds
    place = (value - least) / (most - least)
    reason = scores.lack or _undefined(scores.values, scores.without)
    if not reason:
        found = crossed(scores.values, scores.without, [np.array(scores.pretrainings)])
        if not found.spread_known:
            reason = "every unit and repeat agrees: the spread cannot be judged"
        elif not 0 < place < 1:
            reason = f"the value is the metric's {'highest' if place >= 1 else 'lowest'}: its spread cannot be judged"
    if reason:
        return Interval(value, None, None, n, n_repeats, reason)
    half = found.half(alpha) / (most - least) / (place * (1 - place))
    middle = np.log(place / (1 - place))
    low, high = least + (most - least) / (1 + np.exp(-(middle + np.array([-half, half]))))
    return Interval(value, float(low), float(high), n, n_repeats)


class Tester(Protocol):
    """A contrast's mean over runs, tested by some rule against 0 and the margin; see `tested`."""

    def __call__(self, contrast: Contrast, *, lack: str, alpha: float, margin: float) -> Difference: ...


def paired_difference(
    ours: Scores, base: Scores, *, alpha: float, margin: float, test: Tester | None = None
) -> Difference:
    """Mean over shared repeats of (ours - base) on the same units: t interval at level 1 - alpha and p values.

    Repeat i of one checkpoint is paired with repeat i of the other: the same labels were drawn. test: that of the rule
    that judges; `tested` when not given.
    """
    shared = [i for i in ours.repeats if i in base.repeats]
    n = len(ours.units)
    if not shared:
        return Difference(float("nan"), n, 0, reason="no repeat has a partner")
    a, b = [ours.repeats.index(i) for i in shared], [base.repeats.index(i) for i in shared]
    values = ours.values[a] - base.values[b]
    if ours.units != base.units:
        reason = "the two were tested on different units"
        return Difference(float(values.mean()), n, len(shared), reason=reason)
    groupings = (np.array([ours.pretrainings[i] for i in a]), np.array([base.pretrainings[i] for i in b]))
    contrast = Contrast(
        values=values,
        without=ours.without[a] - base.without[b],
        groupings=groupings,
        over=(ours.units, tuple(shared)),
        sides=(ours.values[a], base.values[b]),
        train_units=min(ours.train_units, base.train_units),
    )
    return (test or tested)(contrast, lack=ours.lack or base.lack, alpha=alpha, margin=margin)


def mean_difference(
    differences: Sequence[Difference], *, alpha: float, margin: float, test: Tester | None = None
) -> Difference | None:
    """The mean of paired differences over label fractions, repeat by repeat.

    None where one of them is not there, or they are not of the same units and repeats.
    """
    parts = [d.contrast for d in differences if d.contrast]
    if len(parts) < max(2, len(differences)) or any(p.over != parts[0].over for p in parts):
        return None
    mean = Contrast(
        values=np.mean([p.values for p in parts], axis=0),
        without=np.mean([p.without for p in parts], axis=0),
        groupings=parts[0].groupings,
        over=parts[0].over,
        sides=_mean_sides(parts),
        train_units=min(p.train_units for p in parts),
    )
    lack = next((d.reason for d in differences if d.lacks), "")
    return (test or tested)(mean, lack=lack, alpha=alpha, margin=margin)


def _mean_sides(parts: Sequence[Contrast]) -> tuple[np.ndarray, np.ndarray] | None:
    sides = [p.sides for p in parts if p.sides]
    if len(sides) < len(parts):
        return None
    return np.mean([ours for ours, _ in sides], axis=0), np.mean([base for _, base in sides], axis=0)


def tested(contrast: Contrast, *, lack: str, alpha: float, margin: float) -> Difference:
    """A contrast's mean over runs, tested against 0 and the margin. lack: why its data are not enough, if they are."""
    value, (units, repeats) = float(contrast.values.mean()), contrast.over
    n, n_repeats = len(units), len(repeats)
    one = any(len(set(g.tolist())) < FEWEST_PRETRAININGS for g in contrast.groupings)
    two_sd = None
    if contrast.sides and n_repeats > 1:
        two_sd = beyond_two_sd(value, *(float(side.std(ddof=1)) for side in contrast.sides))
    nothing = Difference(value, n, n_repeats, one_checkpoint=one, two_sd=two_sd, contrast=contrast, lacks=True)
    reason = _undefined(contrast.values, contrast.without) or lack or lacks_runs(n_repeats)
    if reason:
        return replace(nothing, reason=reason)
    found = crossed(contrast.values, contrast.without, contrast.groupings)
    if not found.spread_known:
        return replace(
            nothing, reason="the difference is the same in every unit and repeat: its spread cannot be judged"
        )
    half, narrow = found.half(alpha), found.half(2 * alpha)
    return Difference(
        value, n, n_repeats, value - half, value + half, found.p(), found.p_equal(margin), found.p_above(margin),
        value - narrow, value + narrow, one_checkpoint=one, two_sd=two_sd, found=found, contrast=contrast,
    )  # fmt: skip


def _undefined(values: np.ndarray, without: np.ndarray) -> str:
    if np.isnan(values).any():
        return "the metric is undefined on these units"
    if np.isnan(without).any():
        return "the metric is undefined without one of the units"
    return ""
