"""Intervals over test units and repeats: of one cell's value, and of the paired difference of two cells.

The value of a cell is the mean over its repeats (their finals) of a metric on the same test units. Units and repeats
are two crossed sources of chance, and an interval must cover both: other units, and other repeats (another draw of
labels, another search, other seeds, and another pretraining where a checkpoint has several). With V_u the variance
due to units and V_r that due to repeats, the variance of the value is taken as V_u + V_r; what units and repeats
share is counted in both, so this errs on the wide side (as does every resampling of both: Owen, "The pigeonhole
bootstrap", Ann. Appl. Stat. 1, 2007; an exact one does not exist: McCullagh, Bernoulli 6, 2000).

V_u: delete-one-unit jackknife of the mean over repeats (Tukey 1958; Efron & Tibshirani, "An Introduction to the
Bootstrap", 1993, eq. 11.5). For the mean of unit values it is s^2 / n.
V_r: variance of the mean over repeats, those of one pretraining kept together (with one or as many as repeats it
is s^2 / n; otherwise the one-way cluster formula with its G / (G - 1) correction: Cameron & Miller, J. Hum. Resour.
50, 2015).
Degrees of freedom: Satterthwaite, Biometrics Bull. 2, 1946.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

FEWEST_UNITS = 6  # below this no interval is honest
BOOTSTRAP_UNITS = 20  # from here on the shape comes from resampled units
_ZERO = 1e-12  # a standard error below this is rounding


@dataclass(frozen=True)
class Scores:
    """A metric of one cell, on all units and on parts of them.

    values: (S,) one value per repeat, on all units.
    without: (S, U) the same without each unit (or block of units) in turn.
    resampled: (B,) mean over repeats on resampled units; empty when there are fewer than BOOTSTRAP_UNITS.
    noise: (B,) standard normal numbers that go with `resampled`.
    repeats, pretrainings: per repeat, its number and that of the pretraining it started from.
    units: names of the units, sorted. blocks: how many columns `without` has; below len(units) when there are so many
    units that they were dealt to blocks.
    unit: patient | slide | image. bounds: the metric's lowest and highest value.
    """

    values: np.ndarray
    without: np.ndarray
    resampled: np.ndarray
    noise: np.ndarray
    repeats: tuple[int, ...]
    pretrainings: tuple[int, ...]
    units: tuple[str, ...]
    unit: str = "unit"
    bounds: tuple[float, float] = (0.0, 1.0)

    @property
    def blocks(self) -> int:
        return self.without.shape[1]


@dataclass(frozen=True)
class Interval:
    """A value with its interval; `basis` is bootstrap, t or none, and `reason` says why none."""

    value: float
    low: float | None
    high: float | None
    n_units: int
    n_repeats: int
    basis: str
    reason: str = ""


@dataclass(frozen=True)
class Difference:
    """A paired difference (this checkpoint minus the baseline).

    p: two-sided, of no difference. p_equal: of a difference at least as large as the margin (two one-sided tests,
    Schuirmann 1987), small when the difference is small. Both None when there is no interval; `reason` says why.
    """

    value: float
    n_units: int
    n_repeats: int
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_equal: float | None = None
    df: float | None = None
    reason: str = ""


def unit_variance(without: np.ndarray) -> float:
    """Jackknife variance of a statistic from its values (U,) without each unit."""
    n = len(without)
    return float((n - 1) / n * ((without - without.mean()) ** 2).sum())


def run_variance(values: np.ndarray, groups: np.ndarray) -> tuple[float, int]:
    """Variance of the mean of `values` (S,) when those of one group (S,) are not independent; and the number of groups.

    With one group nothing can be said of repeats: variance 0.
    """
    names = np.unique(groups)
    count = len(names)
    if count < 2:
        return 0.0, count
    parts = np.array([(values[groups == name] - values.mean()).sum() for name in names]) / len(values)
    return float(count / (count - 1) * (parts**2).sum()), count


def cell_interval(scores: Scores, alpha: float) -> Interval:
    """The mean over repeats with its interval at level 1 - alpha, inside the metric's bounds.

    From BOOTSTRAP_UNITS units: quantiles of the metric on resampled units, each with a normal deviate of variance V_r
    added, deviations stretched by sqrt(n / (n - 1)) and by t / z of the degrees of freedom (the small-sample correction
    of Hesterberg, Am. Stat. 69, 2015, there as "expanded percentile"). Resampling three or five repeats instead would
    cover far too rarely. From FEWEST_UNITS: value ± t * sqrt(V_u + V_r). Below: none.
    """
    value, n = float(scores.values.mean()), len(scores.units)
    reason = _unusable(scores.values, scores.without, n)
    if not reason and np.isnan(scores.resampled).sum() > 0.05 * len(scores.resampled):
        reason = "the metric is undefined on many resamples of the units"
    groups = _groups(scores.pretrainings, scores.pretrainings)
    error, df = _error(scores.values, scores.without, groups) if not reason else (0.0, 0.0)
    if not reason and error < _ZERO:
        reason = "every unit and repeat agrees: the spread cannot be judged"
    if reason:
        return Interval(value, None, None, n, len(scores.repeats), "none", reason)
    if n >= BOOTSTRAP_UNITS:
        defined = ~np.isnan(scores.resampled)
        small = np.sqrt(scores.blocks / (scores.blocks - 1))
        spread = np.sqrt(run_variance(scores.values, groups)[0])
        deviations = small * (scores.resampled - value)[defined] + spread * scores.noise[defined]
        stretch = stats.t.ppf(1 - alpha / 2, df) / stats.norm.ppf(1 - alpha / 2)
        low, high = value + stretch * np.quantile(deviations, [alpha / 2, 1 - alpha / 2])
        basis = "bootstrap"
    else:
        half = stats.t.ppf(1 - alpha / 2, df) * error
        low, high, basis = value - half, value + half, "t"
    least, most = scores.bounds
    low, high = max(least, min(float(low), value)), min(most, max(float(high), value))
    return Interval(value, low, high, n, len(scores.repeats), basis)


def paired_difference(ours: Scores, base: Scores, *, alpha: float, margin: float) -> Difference:
    """Mean over shared repeats of (ours - base) on the same units: t interval at level 1 - alpha and p values.

    Repeat i of one checkpoint is paired with repeat i of the other: the same labels were drawn. For the mean of unit
    values and one repeat this is the paired t test over units.
    """
    shared = [i for i in ours.repeats if i in base.repeats]
    n = len(ours.units)
    if not shared:
        return Difference(float("nan"), n, 0, reason="no repeat has a partner")
    a, b = [ours.repeats.index(i) for i in shared], [base.repeats.index(i) for i in shared]
    values = ours.values[a] - base.values[b]
    value = float(values.mean())
    if ours.units != base.units:
        return Difference(value, n, len(shared), reason="the two were tested on different units")
    without = ours.without[a] - base.without[b]
    reason = _unusable(values, without, n)
    groups = _groups([ours.pretrainings[i] for i in a], [base.pretrainings[i] for i in b])
    error, df = _error(values, without, groups) if not reason else (0.0, 0.0)
    if not reason and error < _ZERO:
        reason = "the difference is the same in every unit and repeat: its spread cannot be judged"
    if reason:
        return Difference(value, n, len(shared), reason=reason)
    half = stats.t.ppf(1 - alpha / 2, df) * error
    p = 2 * stats.t.sf(abs(value) / error, df)
    p_equal = stats.t.sf((margin - abs(value)) / error, df)
    return Difference(value, n, len(shared), value - half, value + half, float(p), float(p_equal), df)


def _unusable(values: np.ndarray, without: np.ndarray, n_units: int) -> str:
    if np.isnan(values).any():
        return "the metric is undefined on these units"
    if n_units < FEWEST_UNITS:
        return f"{n_units} test unit{'s' * (n_units != 1)}: an interval needs at least {FEWEST_UNITS}"
    if np.isnan(without).any():
        return "the metric is undefined without one of the units"
    return ""


def _error(values: np.ndarray, without: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """Standard error of the mean over repeats, and its degrees of freedom."""
    by_unit = unit_variance(without.mean(axis=0))
    by_run, count = run_variance(values, groups)
    total = by_unit + by_run
    if total < _ZERO**2:
        return 0.0, 1.0
    spent = by_unit**2 / (without.shape[1] - 1) + (by_run**2 / (count - 1) if count > 1 else 0.0)
    return float(np.sqrt(total)), float(total**2 / spent)


def _groups(ours: tuple[int, ...] | list[int], base: tuple[int, ...] | list[int]) -> np.ndarray:
    """Which repeats go together: by pretraining, where there are several. If both have several, the fewer."""
    several = [np.array(p) for p in (ours, base) if len(set(p)) > 1]
    return min(several, key=lambda p: len(set(p.tolist()))) if several else np.arange(len(ours))
