"""Standard error of a mean over runs on the same test units, where units and runs are two crossed sources of chance.

theta_s: a statistic (a metric, or the paired difference of two) in run s of S; theta_s(-u): that without unit u of n.

1. Pseudo-values psi_us = n theta_s - (n - 1) theta_s(-u), centred within each run (Tukey 1958; Efron and Tibshirani,
   "An Introduction to the Bootstrap", 1993, ch. 11), so that any metric is treated like a mean of unit values.
2. Mean squares of the two-way layout without replication (Searle, Casella and McCulloch, "Variance Components", 1992,
   ch. 4): MSu = S var_u(mean_s psi), MSs = n var_s(theta_s), MSe = sum (psi - mean_s psi)^2 / ((n - 1)(S - 1)).
3. W = max(MSu + MSs - MSe, MSu, MSe), SE^2 = W / (n S): units, runs and what is left, each counted once.
4. Degrees of freedom of W (Satterthwaite, Biometrics Bull. 2, 1946):
   W^2 / [MSu^2 / (n - 1) + MSs^2 / (S - 1) + MSe^2 / ((n - 1)(S - 1))]; n - 1 where MSs <= MSe.
5. With fewer than ENOUGH_RUNS runs MSs may be small by luck and the degrees of freedom too many. They are computed once
   more with MSs at the upper end of its 65 % one-sided confidence interval, MSs (S - 1) / chi2(0.35; S - 1), and the
   fewer are taken. 0.35 is the value that holds the level on the grid of tests/benchmarks/statistics.py. With 5 runs
   a single interval would hold it without, the far tail that families of comparisons use would not.
6. Runs that start from the same pretraining are not independent. Each grouping of the runs by pretraining (that of
   each of two checkpoints, where they are not the same) adds var_g(group means) sum_g (m_g / S)^2 with G - 1 degrees of
   freedom, m_g runs in each of G groups: V = MSu / (n S) + their sum, degrees of freedom as in 4. A grouping into
   single runs is plain runs, one into a single group says nothing and is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import gammaincinv, stdtr, stdtrit  # scipy.stats takes seconds to load, and `plan` needs this

ENOUGH_RUNS = 6  # from here on the degrees of freedom are taken as they are
POWER = 0.8
CAREFUL = 0.35  # see 5
_ZERO = 1e-12  # a standard error below this is rounding


@dataclass(frozen=True)
class MeanSquares:
    """MSu, MSs and MSe of one study or of many at once: floats or arrays (...,); n units, S runs.

    MSs and MSe are 0 with a single run.
    """

    units: np.ndarray
    runs: np.ndarray
    rest: np.ndarray
    n_units: int
    n_runs: int


@dataclass(frozen=True)
class Crossed:
    """A mean over runs with its standard error; see the module for how they are made.

    df: degrees of freedom. seed, unit, rest: variance components (of a run's mean over all units, of a unit's mean over
    all runs, of one unit in one run) in squared units of the metric, at least 0. n_groups: the smallest number of
    pretrainings that runs were grouped by, or the number of runs.
    """

    value: float
    se: float
    df: float
    seed: float
    unit: float
    rest: float
    n_units: int
    n_runs: int
    n_groups: int

    @property
    def spread_known(self) -> bool:
        """Whether there is any spread; where every unit and run agrees nothing can be judged."""
        return self.se > _ZERO

    def turned(self) -> "Crossed":
        """That of the statistic with the other sign."""
        return replace(self, value=-self.value)

    def half(self, alpha: float) -> float:
        """Half the width of the two-sided t interval at level 1 - alpha."""
        return float(stdtrit(self.df, 1 - alpha / 2) * self.se)

    def p(self) -> float:
        """Two-sided p value of no difference."""
        return float(2 * stdtr(self.df, -abs(self.value) / self.se))

    def p_above(self, bound: float) -> float:
        """One-sided p value of a true value of at most `bound`: small when it is surely above."""
        return float(stdtr(self.df, (bound - self.value) / self.se))

    def p_below(self, bound: float) -> float:
        """One-sided p value of a true value of at least `bound`: small when it is surely below."""
        return float(stdtr(self.df, (self.value - bound) / self.se))

    def p_equal(self, margin: float) -> float:
        """p value of a true difference of at least the margin: two one-sided t tests (Schuirmann, J. Pharmacokinet.
        Biopharm. 15, 1987). Below alpha exactly when the interval at level 1 - 2 alpha lies inside ±margin."""
        return float(stdtr(self.df, (abs(self.value) - margin) / self.se))

    def smallest_detectable(self, alpha: float, comparisons: int = 1) -> float:
        """The true difference that such a study finds with a power of 80 %: (t(1 - alpha / 2m) + t(0.8)) SE."""
        return float((stdtrit(self.df, 1 - alpha / 2 / comparisons) + stdtrit(self.df, POWER)) * self.se)

    def units_cannot_settle(self, margin: float) -> bool:
        """Whether the spread between runs alone, seed / S, is too large to see a difference of the margin: more units
        do not help then, more runs do. 2.8 is the sum of the normal quantiles of a level of 5 % and a power of 80 %."""
        return self.n_runs > 1 and margin > 0 and self.seed / self.n_runs > (margin / 2.8) ** 2


def crossed(values: np.ndarray, without: np.ndarray, groupings: Sequence[np.ndarray] = ()) -> Crossed:
    """A statistic's mean over runs.

    values: float64 (S,), the statistic in each run on all n units. without: (S, n), the same without each unit.
    groupings: (S,) integers each, which pretraining each run started from, one array a checkpoint.
    """
    n_runs, n_units = without.shape
    squares = mean_squares(values, without)
    se, df = standard_errors(values, squares, groupings)
    parts = _distinct(groupings)
    seed = float(squares.runs - squares.rest) / n_units if n_runs > 1 else 0.0
    return Crossed(
        value=float(values.mean()),
        se=float(se),
        df=float(df),
        seed=max(0.0, seed),
        unit=max(0.0, float(squares.units - squares.rest) / n_runs),
        rest=float(squares.rest),
        n_units=n_units,
        n_runs=n_runs,
        n_groups=min((int(part.max()) + 1 for part in parts), default=n_runs),
    )


def standard_errors(
    values: np.ndarray, squares: MeanSquares, groupings: Sequence[np.ndarray] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """SE and degrees of freedom (...,) of one study or of many that share their runs: values (..., S), their mean
    squares, groupings as in `crossed`."""
    parts = _distinct(groupings)
    return with_groupings(values, squares, parts) if parts else plain(squares)


def pseudo_values(values: np.ndarray, without: np.ndarray) -> np.ndarray:
    """psi, centred within each run: (..., S, n) from values (..., S) and without (..., S, n).

    What the centring takes away is n theta_s plus a constant, so psi is -(n - 1) times the centred `without`.
    """
    n = without.shape[-1]
    return -(n - 1) * (without - without.mean(axis=-1, keepdims=True))


def mean_squares(values: np.ndarray, without: np.ndarray) -> MeanSquares:
    """From values (..., S) and without (..., S, n), n at least 2."""
    n_runs, n_units = without.shape[-2:]
    psi = pseudo_values(values, without)
    by_unit = psi.mean(axis=-2)
    units = n_runs * (by_unit**2).sum(-1) / (n_units - 1)
    if n_runs == 1:
        return MeanSquares(units, np.zeros_like(units), np.zeros_like(units), n_units, 1)
    rest = ((psi - by_unit[..., None, :]) ** 2).sum((-2, -1)) / ((n_units - 1) * (n_runs - 1))
    return MeanSquares(units, n_units * values.var(axis=-1, ddof=1), rest, n_units, n_runs)


def plain(squares: MeanSquares, careful: float = CAREFUL) -> tuple[np.ndarray, np.ndarray]:
    """SE and degrees of freedom of independent runs: steps 3 to 5. careful: the quantile of step 5."""
    s, n = squares.n_runs, squares.n_units
    total, df = _total(squares, squares.runs)
    if 1 < s < ENOUGH_RUNS:
        _, fewer = _total(squares, squares.runs * (s - 1) / chi2_quantile(careful, s - 1))
        df = np.minimum(df, fewer)
    return np.sqrt(total / (n * s)), df


def with_groupings(
    values: np.ndarray, squares: MeanSquares, groupings: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """SE and degrees of freedom where runs are grouped by pretraining: step 6. Groups are numbered from 0."""
    by_unit = squares.units / (squares.n_units * squares.n_runs)
    parts, dfs = [by_unit], [squares.n_units - 1]
    for grouping in groupings:
        sizes = np.bincount(grouping)
        means = values @ (np.eye(len(sizes))[grouping] / sizes)
        parts.append(means.var(axis=-1, ddof=1) * ((sizes / squares.n_runs) ** 2).sum())
        dfs.append(len(sizes) - 1)
    return np.sqrt(sum(parts)), satterthwaite(parts, dfs)


def chi2_quantile(q: float, df: float) -> float:
    """The value that a chi-square of df degrees of freedom is below with probability q."""
    return float(2 * gammaincinv(df / 2, q))


def satterthwaite(variances: Sequence[np.ndarray], dfs: Sequence[float]) -> np.ndarray:
    """Degrees of freedom of a sum of independent variance estimates; the fewest of them where all are 0."""
    total = np.asarray(sum(variances), dtype=np.float64)
    spent = np.asarray(sum(v**2 / df for v, df in zip(variances, dfs, strict=True)), dtype=np.float64)
    return np.divide(total**2, spent, out=np.full(total.shape, float(min(dfs))), where=spent > 0)


def _total(squares: MeanSquares, runs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """W and its degrees of freedom with `runs` as MSs."""
    s, n = squares.n_runs, squares.n_units
    if s == 1:
        return squares.units, np.full(np.shape(squares.units), n - 1.0)
    total = np.maximum(np.maximum(squares.units + runs - squares.rest, squares.units), squares.rest)
    spent = squares.units**2 / (n - 1) + runs**2 / (s - 1) + squares.rest**2 / ((n - 1) * (s - 1))
    df = np.divide(total**2, spent, out=np.full(np.shape(total), n - 1.0), where=spent > 0)
    return total, np.where(runs <= squares.rest, n - 1.0, df)


def _distinct(groupings: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The groupings that matter, numbered from 0: empty when every one is a single group or single runs."""
    found: dict[tuple[int, ...], np.ndarray] = {}
    for grouping in groupings:
        names = list(dict.fromkeys(np.asarray(grouping).tolist()))
        if len(names) > 1:
            numbered = np.array([names.index(g) for g in np.asarray(grouping).tolist()])
            found[tuple(numbered.tolist())] = numbered
    parts = list(found.values())
    return parts if any(int(p.max()) + 1 < len(p) for p in parts) else []
