"""Out of domain: what part of its value a checkpoint loses on a further test set.

phi_s and theta_s are the values of run s on the further set and on the task's own, from the same final. By the delta
method the logarithm of mean phi / mean theta has the variance of z = phi / mean phi - theta / mean theta. Units of the
two sets are different ones and count each for themselves, runs are common to both (`report.crossed`, steps 2 to 4):
with U = MSu / (n S mean^2) and E = MSe / (n S mean^2) of each set and R = var_s(z_s) / S,
V = max(sum U + R - sum E, sum U, R), degrees of freedom after Satterthwaite, with fewer than ENOUGH_RUNS runs once more
with R at the upper end of its interval (step 5). Where a checkpoint has several pretrainings, R is that of their means
and nothing is taken off. The interval of the lost part is one minus the exponential of the t interval's ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from raysweep.report.cells import CellRef
from raysweep.report.crossed import CAREFUL, ENOUGH_RUNS, chi2_quantile, mean_squares, satterthwaite
from raysweep.report.enough import lacks_runs
from raysweep.report.intervals import Scores

_ZERO = 1e-12


@dataclass(frozen=True)
class Drop:
    """cell: on a further test set. own, there: values, means over the repeats that both have. value: the part of `own`
    that is lost, below 0 where it is a gain; low, high: its interval, None for `reason`."""

    cell: CellRef
    metric: str
    own: float
    there: float
    value: float
    low: float | None = None
    high: float | None = None
    reason: str = ""


def relative_drop(cell: CellRef, metric: str, own: Scores, there: Scores, *, alpha: float) -> Drop | None:
    """Of one cell from its own test set to a further one, at level 1 - alpha; None when no repeat has both."""
    shared = [i for i in own.repeats if i in there.repeats]
    if not shared:
        return None
    a, b = [own.repeats.index(i) for i in shared], [there.repeats.index(i) for i in shared]
    theta, phi = float(own.values[a].mean()), float(there.values[b].mean())
    found = Drop(cell, metric, theta, phi, 1 - phi / theta if theta > 0 else float("nan"))
    reason = own.lack or (f"on {cell.tested_on} {there.lack}" if there.lack else "") or lacks_runs(len(shared))
    parts = (own.values[a], own.without[a], theta), (there.values[b], there.without[b], phi)
    if not reason and any(np.isnan(v).any() or np.isnan(w).any() for v, w, _ in parts):
        reason = "the metric is undefined on these units, or without one of them"
    if not reason and min(theta, phi) <= 0:
        reason = "a value is not above 0: there is no part of it"
    if reason:
        return _without(found, reason)
    variance, df = _variance(parts, [own.pretrainings[i] for i in a])
    if variance < _ZERO**2:
        return _without(found, "every unit and repeat agrees: the spread cannot be judged")
    half, middle = float(stdtrit(df, 1 - alpha / 2)) * variance**0.5, float(np.log(phi / theta))
    low, high = (1 - float(np.exp(middle + side)) for side in (half, -half))
    return Drop(cell, metric, theta, phi, found.value, low, high)


def _without(found: Drop, reason: str) -> Drop:
    return Drop(found.cell, found.metric, found.own, found.there, found.value, reason=reason)


def _variance(
    parts: Sequence[tuple[np.ndarray, np.ndarray, float]], pretrainings: Sequence[int]
) -> tuple[float, float]:
    """Of log(mean phi / mean theta), and its degrees of freedom."""
    squares = [(mean_squares(v, w), mean**2) for v, w, mean in parts]
    n_runs = len(pretrainings)
    units = [float(m.units) / (m.n_units * n_runs * scale) for m, scale in squares]
    rest = [float(m.rest) / (m.n_units * n_runs * scale) for m, scale in squares]
    unit_df = [m.n_units - 1 for m, _ in squares]
    z = parts[1][0] / parts[1][2] - parts[0][0] / parts[0][2]
    groups = list(dict.fromkeys(pretrainings))
    if 1 < len(groups) < n_runs:
        members = [np.flatnonzero(np.array(pretrainings) == g) for g in groups]
        means = np.array([z[m].mean() for m in members])
        between = float(means.var(ddof=1) * sum((len(m) / n_runs) ** 2 for m in members))
        all_of = [*units, between]
        return sum(all_of), float(satterthwaite([np.array(x) for x in all_of], [*unit_df, len(groups) - 1]))
    runs = float(z.var(ddof=1)) / n_runs
    total, df = _total(units, unit_df, runs, rest, n_runs)
    if n_runs < ENOUGH_RUNS:
        more = runs * (n_runs - 1) / chi2_quantile(CAREFUL, n_runs - 1)
        df = min(df, _total(units, unit_df, more, rest, n_runs)[1])
    return total, df


def _total(
    units: Sequence[float], unit_df: Sequence[int], runs: float, rest: Sequence[float], n_runs: int
) -> tuple[float, float]:
    by_unit = float(satterthwaite([np.array(u) for u in units], unit_df))
    if runs <= sum(rest):
        return max(sum(units), runs), by_unit
    total = max(sum(units) + runs - sum(rest), sum(units), runs)
    spent = sum(u**2 / df for u, df in zip(units, unit_df, strict=True)) + runs**2 / (n_runs - 1)
    spent += sum(e**2 / (df * (n_runs - 1)) for e, df in zip(rest, unit_df, strict=True))
    return total, total**2 / spent
