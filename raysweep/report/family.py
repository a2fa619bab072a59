"""Verdicts over a family of comparisons: nothing counts as found because many things were looked at."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from raysweep.report.chains import chained
from raysweep.report.intervals import Difference, OneSided
from raysweep.report.single_step import Family

MUCH_BETTER, BETTER = "better by more than the margin", "better"
MUCH_WORSE, WORSE = "worse by more than the margin", "worse"
SAME, NOT_WORSE = "no difference that matters", "not worse by the margin"
UNDECIDED, NOT_ENOUGH, NOT_COMPARED = "undecided", "not enough data", "not compared"
VERDICTS = (MUCH_BETTER, BETTER, MUCH_WORSE, WORSE, SAME, NOT_WORSE, UNDECIDED, NOT_ENOUGH, NOT_COMPARED)


@dataclass(frozen=True)
class Verdict:
    """What a comparison says in words, with p values after correction; None when it has none.

    low, high: simultaneous interval, which agrees with the word and with p_corrected; None where it would not, or the
    rule has none. m: comparisons in the family. reason: why it is not enough data for this family.
    """

    word: str
    p_corrected: float | None = None
    p_equal_corrected: float | None = None
    low: float | None = None
    high: float | None = None
    m: int = 1
    reason: str = ""


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Adjusted p values (Holm, Scand. J. Stat. 6, 1979), in the order given.

    A planned comparison without a p value stays in the count, as if its p were 1; so the family does not shrink when
    something fails.
    """
    return [chain[0] for chain in chained([[x] for x in p])]


def judge(
    differences: Sequence[Difference | None],
    curves: Sequence[Hashable | None] | None = None,
    *,
    alpha: float,
    margin: float,
    correction: str = "max-t",
) -> list[Verdict]:
    """A verdict for each comparison of the family; None stands for one that could not be made.

    curves: for each comparison the curve (value against labels) that it is a point of, points in ascending order of
    labels; None for what is no point of a curve. Without it each is a curve of its own.
    correction: max-t (`single_step`), or holm, which has no simultaneous intervals: Bonferroni's are given where they
    exclude zero exactly if its p value is below alpha.

    - no difference that matters: equivalence (two one-sided tests) is tested along each curve from the most labels
      downwards, Holm's method over curves (`chains`); or the simultaneous interval lies inside ±margin. This goes
      first: a difference may be certain and still too small to matter. A simultaneous interval lies above a bound when
      the one-sided test against it falls at half the level that the family leaves the comparison.
    - better, worse: the corrected p is below alpha; by more than the margin: the simultaneous interval lies beyond it.
    - not worse by the margin (non-inferior): the simultaneous interval lies above -margin.
    - undecided: none of these. not enough data: nothing could be tested, for lack of data. not compared: there was
      nothing to compare.
    """
    found = [d if d and d.p is not None else None for d in differences]
    raw = [d.p if d else None for d in found]
    if correction == "holm":
        p, level = holm(raw), alpha / max(1, len(found))
    else:
        family = Family([d.contrast if d else None for d in found])
        p, level = [None if x is None else family.corrected(x) for x in raw], family.level(alpha)
    p_equal = _equal(found, curves if curves is not None else list(range(len(found))))
    verdicts = []
    for d, own, same in zip(differences, p, p_equal, strict=True):
        if d is None or d.test is None or own is None:
            verdicts.append(Verdict(NOT_ENOUGH if d and d.lacks else NOT_COMPARED, m=len(found)))
            continue
        equal = same is not None and same < alpha
        word = _word(d.value, d.test, own, equal, alpha, level, margin)
        low, high = _interval(d, level, own < alpha)
        verdicts.append(Verdict(word, own, same, low, high, len(found)))
    return verdicts


def _interval(d: Difference, level: float, differs: bool) -> tuple[float | None, float | None]:
    half = d.found.half(level) if d.found else None
    if half is None or (abs(d.value) > half) != differs:
        return None, None
    return d.value - half, d.value + half


def _equal(found: Sequence[Difference | None], curves: Sequence[Hashable | None]) -> list[float | None]:
    chains: dict[Hashable, list[int]] = {}
    for i, curve in enumerate(curves):
        if curve is not None:
            chains.setdefault(curve, []).insert(0, i)  # from the most labels downwards
    out: list[float | None] = [None] * len(found)
    if chains:
        corrected = chained([[d.p_equal if (d := found[i]) else None for i in own] for own in chains.values()])
        for own, values in zip(chains.values(), corrected, strict=True):
            for i, value in zip(own, values, strict=True):
                out[i] = value
    return out


def _word(value: float, test: OneSided, p: float, equal: bool, alpha: float, level: float, margin: float) -> str:
    if equal or (margin > 0 and test.p_above(-margin) < level / 2 and test.p_below(margin) < level / 2):
        return SAME
    if p < alpha:
        if value > 0:
            return MUCH_BETTER if margin > 0 and test.p_above(margin) < level / 2 else BETTER
        return MUCH_WORSE if margin > 0 and test.p_below(-margin) < level / 2 else WORSE
    return NOT_WORSE if margin > 0 and test.p_above(-margin) < level / 2 else UNDECIDED
