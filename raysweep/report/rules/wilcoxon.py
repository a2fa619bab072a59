"""wilcoxon: the signed rank test over test units (Wilcoxon, Biometrics Bull. 1, 1945), Holm's method over a family.

A unit's difference is its jackknife pseudo-value, n theta - (n - 1) theta(-u), mean over repeats: for a metric that is
a mean over units that is the difference on this unit itself. Equivalence and non-inferiority are the same test against
the margin. It covers other units and not other repeats: with few units that differ little and repeats that differ much
it finds too much. No interval belongs to it that would agree with Holm's p values, so none is given.

The smallest p value that n units can give is 2^(1 - n). Where it is still above alpha after correction nothing could
have been found, and that is not enough data.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from raysweep.report.family import NOT_ENOUGH, Verdict, judge
from raysweep.report.intervals import Contrast, Difference, tested
from raysweep.report.rules import Rule, register
from raysweep.report.signed_rank import signed_rank_p

_DIGITS = 12  # what is equal up to rounding is a tie


@dataclass(frozen=True)
class SignedRank:
    """Tests of the differences of units (n,)."""

    units: np.ndarray

    def p(self) -> float:
        """Two-sided p value of no difference."""
        return signed_rank_p(self.units)

    def p_above(self, bound: float) -> float:
        """One-sided: small when differences are surely above `bound`."""
        return signed_rank_p(self.units - bound, "greater")

    def p_below(self, bound: float) -> float:
        """One-sided: small when differences are surely below `bound`."""
        return signed_rank_p(self.units - bound, "less")

    def p_equal(self, margin: float) -> float:
        """Of a difference of at least the margin: the larger of two one-sided p values."""
        return max(self.p_above(-margin), self.p_below(margin))

    def turned(self) -> "SignedRank":
        """That of the differences with the other sign."""
        return SignedRank(-self.units)

    @property
    def smallest(self) -> float:
        """The smallest two-sided p value that so many units can give; those without a difference do not count."""
        return float(2.0 ** (1 - np.count_nonzero(np.round(self.units, _DIGITS))))


def _test(contrast: Contrast, *, lack: str, alpha: float, margin: float) -> Difference:
    found = tested(contrast, lack=lack, alpha=alpha, margin=margin)
    if found.p is None:
        return found
    n = contrast.without.shape[1]
    ranks = SignedRank((n * contrast.values[:, None] - (n - 1) * contrast.without).mean(0))
    return replace(
        found, low=None, high=None, p=ranks.p(), p_equal=ranks.p_equal(margin), p_above=ranks.p_above(margin),
        equal_low=None, equal_high=None, found=None, ranks=ranks,
    )  # fmt: skip


def _judge(
    differences: Sequence[Difference | None],
    curves: Sequence[Hashable | None] | None = None,
    *,
    alpha: float,
    margin: float,
    correction: str = "max-t",
) -> list[Verdict]:
    m = len(differences)
    verdicts = judge(differences, curves, alpha=alpha, margin=margin, correction="holm")
    for i, d in enumerate(differences):
        if d and isinstance(d.ranks, SignedRank) and (least := min(1.0, m * d.ranks.smallest)) > alpha:
            reason = (
                f"the signed rank test can give no corrected p below {least:.2g} with {len(d.ranks.units)} units and "
                f"{m} comparison{'s' * (m != 1)}"
            )
            verdicts[i] = Verdict(NOT_ENOUGH, m=m, reason=reason)
    return verdicts


def _method(judged: Sequence[Difference]) -> str:
    return (
        "Differences are judged by Wilcoxon's signed rank test (1945) over test units, each with the mean of its "
        "difference over repeats (jackknife pseudo-values, which are the unit's own values where the metric is a mean "
        "over units), p values corrected by Holm's method (1979). It says nothing of other repeats, and no interval "
        "is given that could disagree with it."
    )


register(Rule("wilcoxon", "Wilcoxon's signed rank test over test units", _test, _judge, _method))
