"""Wilcoxon's signed rank test, exact with ties too (Wilcoxon, Biometrics Bull. 1, 1945).

Differences of 0 are left out, equal sizes share the mean of their ranks. Up to MOST_EXACT differences the p value is
that of all 2^n signs, counted by adding one rank after the other (ranks doubled are integers, so this is a short table
and not an enumeration: scipy's takes seconds where there are ties). Above, scipy's normal approximation.
"""

from typing import Literal

import numpy as np
from scipy import stats

MOST_EXACT = 50
_DIGITS = 12  # what is equal up to rounding is a tie

Alternative = Literal["two-sided", "greater", "less"]


def signed_rank_p(differences: np.ndarray, alternative: Alternative = "two-sided") -> float:
    """p value of differences (n,) around 0; greater: small when they are surely above 0. 1 where none is left."""
    rounded = np.round(differences, _DIGITS)
    d = rounded[rounded != 0]
    if not len(d):
        return 1.0
    if len(d) > MOST_EXACT:
        return float(stats.wilcoxon(d, alternative=alternative, method="asymptotic").pvalue)
    ranks = np.rint(2 * stats.rankdata(np.abs(d))).astype(np.int64)
    ways = np.zeros(int(ranks.sum()) + 1)
    ways[0] = 1.0
    for rank in ranks:
        ways[rank:] = ways[rank:] + ways[:-rank]
    found = int(ranks[d > 0].sum())
    above, below = (float(part.sum() / ways.sum()) for part in (ways[found:], ways[: found + 1]))
    if alternative == "two-sided":
        return min(1.0, 2 * min(above, below))
    return above if alternative == "greater" else below
