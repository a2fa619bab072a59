"""Single-step correction of a family of contrasts that share units, repeats and a baseline.

The contrasts' joint covariance comes from the same mean squares as their standard errors (`report.crossed`), as
matrices over contrasts: W = MSu + (MSs - MSe)+, the part of the runs with its negative eigenvalues cut. Between runs
there are only S - 1 degrees of freedom, so a sample correlation is far too sure of itself: what two contrasts share of
that part is shrunk by 2 / (S + 1). Where runs add nothing, nothing is shrunk: contrasts that go together in their units
cost little. Where W of contrasts is their MSe, what MSe has more is shared as MSe is.

Every contrast keeps its own degrees of freedom: its p value becomes a normal deviate z, and the corrected one is the
probability that the largest of |Z_1| ... |Z_m|, Z normal with the correlation of W, is at least z (the single-step
min-p of Westfall and Young, "Resampling-Based Multiple Testing", 1993, sec. 2.3, with a normal joint distribution as in
Hothorn, Bretz and Westfall, Biom. J. 50, 2008). A multivariate t that shares one chi-square is less careful: with few
runs its family-wise error is above the level (tests/benchmarks/statistics.py). Simultaneous intervals are the t
intervals at the level that each contrast is then tested at: they exclude zero exactly when the corrected p is below
alpha. Corrected p values lie between p and Bonferroni's m p. Equal input gives equal output: the draws are fixed.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.special import ndtri

from raysweep.randomness import generator
from raysweep.report.crossed import pseudo_values
from raysweep.report.intervals import Contrast

MOST_JOINT = 300  # contrasts; of more, only Sidak's inequality is used, which needs no correlation
_DRAWS = 40_000
_CHUNK = 2_000_000  # numbers held at once


class Family:
    """Corrected p values and levels of the contrasts of one family; None stands for one that could not be tested.

    Those stay in the count, as independent of all others; so are contrasts on other units or repeats than the rest
    (Sidak, J. Am. Stat. Assoc. 62, 1967: that errs on the wide side).
    """

    def __init__(self, contrasts: Sequence[Contrast | None], *, one_sided: bool = False) -> None:
        self._count, self._one_sided = len(contrasts), one_sided
        self._sides = 1 if one_sided else 2
        self._largest = _largest(correlation(contrasts), one_sided) if 1 < self._count <= MOST_JOINT else None

    def corrected(self, p: float) -> float:
        """The probability that the smallest p value of the family is as small as this one."""
        if self._count <= 1:
            return p
        most = min(1.0, self._count * p)
        if self._largest is None:
            return min(most, float(-np.expm1(self._count * np.log1p(-min(p, 1 - 1e-16)))))
        deviate = -ndtri(p / self._sides)
        below = np.searchsorted(self._largest, deviate, side="left")
        return float(np.clip(1 - below / len(self._largest), p, most))

    def level(self, alpha: float) -> float:
        """The level of each contrast that keeps the family's at alpha: `corrected` is below alpha below it."""
        if self._count <= 1:
            return alpha
        low, high = alpha / self._count, alpha
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if self.corrected(middle) < alpha else (low, middle)
        return low


def correlation(contrasts: Sequence[Contrast | None]) -> np.ndarray:
    """Of the contrasts' estimates (m, m); 0 between those that are not of the same units and repeats."""
    out = np.eye(len(contrasts))
    groups: dict[object, list[int]] = {}
    for i, contrast in enumerate(contrasts):
        if contrast is not None:
            groups.setdefault(contrast.over, []).append(i)
    for members in groups.values():
        found = [c for i in members if (c := contrasts[i]) is not None]
        if len(members) > 1:
            part = _correlation(np.stack([c.values for c in found]), np.stack([c.without for c in found]))
            out[np.ix_(members, members)] = part
    return out


def _correlation(values: np.ndarray, without: np.ndarray) -> np.ndarray:
    """From values (m, S) and without (m, S, n)."""
    m, n_runs, n_units = without.shape
    psi = pseudo_values(values, without)
    by_unit = psi.mean(axis=1)
    total = n_runs * by_unit @ by_unit.T / (n_units - 1)
    if n_runs > 1:
        centred = values - values.mean(axis=1, keepdims=True)
        runs = n_units * centred @ centred.T / (n_runs - 1)
        flat = (psi - by_unit[:, None]).reshape(m, -1)
        rest = flat @ flat.T / ((n_units - 1) * (n_runs - 1))
        roots, axes = np.linalg.eigh(runs - rest)
        excess = (axes * np.maximum(roots, 0)) @ axes.T
        total = total + np.where(np.eye(m, dtype=bool), excess, excess * (1 - 2 / (n_runs + 1)))
        lacks = np.maximum(rest.diagonal() - total.diagonal(), 0) / np.maximum(rest.diagonal(), 1e-300)
        total = total + np.sqrt(np.outer(lacks, lacks)) * rest
    spread = np.sqrt(total.diagonal())
    spread = np.where(spread > 0, spread, 1.0)
    found = total / np.outer(spread, spread)
    np.fill_diagonal(found, 1.0)
    return found


def _largest(joint: np.ndarray, one_sided: bool) -> np.ndarray:
    """Sorted draws of the largest (absolute) of m standard normal numbers with this correlation.

    Of all its roots the symmetric one is taken: where eigenvalues are equal their axes are a matter of rounding, and
    with any other root so would be the draws, on another machine or with units in another order.
    """
    m = len(joint)
    roots, axes = np.linalg.eigh(joint)
    factor = (axes * np.sqrt(np.maximum(roots, 0))) @ axes.T
    step = max(1, _CHUNK // m)
    parts = []
    for start in range(0, _DRAWS, step):
        z = _normals(m, start, min(step, _DRAWS - start)) @ factor
        parts.append((z if one_sided else np.abs(z)).max(axis=1))
    return np.sort(np.concatenate(parts))


@lru_cache(maxsize=2)
def _normals(m: int, start: int, rows: int) -> np.ndarray:
    """(rows, m) of the fixed draws for families of m; families of one size follow each other."""
    return generator("report", "single step", m, start).standard_normal((rows, m))
