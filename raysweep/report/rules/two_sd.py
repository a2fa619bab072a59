"""two-sd: the rule of thumb of Mormont et al. (`report.two_sd`): more than twice the larger standard deviation over
repeats is a difference.

It is no test: there is no p value, no interval, nothing is corrected, and that two are equal is never found.
"""

from collections.abc import Hashable, Sequence
from dataclasses import replace

from raysweep.report.family import BETTER, NOT_COMPARED, NOT_ENOUGH, UNDECIDED, WORSE, Verdict
from raysweep.report.intervals import Contrast, Difference, tested
from raysweep.report.rules import Rule, register


def _test(contrast: Contrast, *, lack: str, alpha: float, margin: float) -> Difference:
    found = tested(contrast, lack=lack, alpha=alpha, margin=margin)
    return replace(
        found, low=None, high=None, p=None, p_equal=None, p_above=None, equal_low=None, equal_high=None, found=None
    )


def _judge(
    differences: Sequence[Difference | None],
    curves: Sequence[Hashable | None] | None = None,
    *,
    alpha: float,
    margin: float,
    correction: str = "max-t",
) -> list[Verdict]:
    m = len(differences)
    return [Verdict(_word(d), m=m) for d in differences]


def _word(d: Difference | None) -> str:
    if d is None or d.reason or d.two_sd is None:
        return NOT_ENOUGH if d and d.lacks else NOT_COMPARED
    if not d.two_sd:
        return UNDECIDED
    return BETTER if d.value > 0 else WORSE


def _method(judged: Sequence[Difference]) -> str:
    return (
        "Differences are judged by a rule of thumb and not by a test: they count where they are more than twice the "
        "larger standard deviation over repeats of the two (Mormont et al. 2021), an absent one counted as 0. It "
        "ignores test units and how many comparisons there are; it gives no p value and no interval, and never finds "
        "that two are equal."
    )


register(Rule("two-sd", "the rule of two standard deviations, which is no test", _test, _judge, _method))
