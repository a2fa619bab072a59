"""Verdicts over a family of comparisons: nothing counts as found because many things were looked at."""

from collections.abc import Sequence
from dataclasses import dataclass

from raysweep.report.intervals import Difference

BETTER, WORSE = "better", "worse"
SAME, UNDECIDED, NOT_COMPARED = "no difference that matters", "undecided", "not compared"
VERDICTS = (BETTER, WORSE, SAME, UNDECIDED, NOT_COMPARED)


@dataclass(frozen=True)
class Verdict:
    """A comparison's p values after Holm's correction (None when it has none) and what they say in words."""

    word: str
    p_holm: float | None
    p_equal_holm: float | None


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Adjusted p values (Holm, Scand. J. Stat. 6, 1979), in the order given.

    A planned comparison without a p value stays in the count, as if its p were 1; so the family does not shrink when
    something fails.
    """
    from statsmodels.stats.multitest import multipletests

    if not p:
        return []
    adjusted = multipletests([1.0 if x is None else x for x in p], method="holm")[1]
    return [None if x is None else float(y) for x, y in zip(p, adjusted, strict=True)]


def judge(differences: Sequence[Difference | None], *, alpha: float, margin: float) -> list[Verdict]:
    """A verdict for each comparison of the family; None stands for one that could not be made.

    - no difference that matters: the interval lies inside ±margin, and so says the equivalence test after Holm.
      This goes first: a difference may be certain and still too small to matter.
    - better, worse: Holm's p is below alpha.
    - undecided: neither.
    """
    p = holm([d.p if d else None for d in differences])
    p_equal = holm([d.p_equal if d else None for d in differences])
    return [
        Verdict(_word(d, one, two, alpha, margin), one, two)
        for d, one, two in zip(differences, p, p_equal, strict=True)
    ]


def _word(d: Difference | None, p: float | None, p_equal: float | None, alpha: float, margin: float) -> str:
    if d is None:
        return NOT_COMPARED
    if d.low is None or d.high is None or p is None or p_equal is None:
        return UNDECIDED
    if -margin < d.low and d.high < margin and p_equal < alpha:
        return SAME
    if p < alpha:
        return BETTER if d.value > 0 else WORSE
    return UNDECIDED
