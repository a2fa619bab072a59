"""One sentence or a few for each task: what beats the baseline, by how much, with how many labels, and until when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raysweep.report.cells import percent
from raysweep.report.enough import FEWEST_PRETRAININGS
from raysweep.report.family import (
    BETTER,
    MUCH_BETTER,
    MUCH_WORSE,
    NOT_COMPARED,
    NOT_ENOUGH,
    NOT_WORSE,
    SAME,
    UNDECIDED,
    WORSE,
)
from raysweep.report.findings import Comparison, Estimate, Findings, TaskFindings
from raysweep.report.sizes import size_words, unit_words
from raysweep.report.spec import CompareSpec
from raysweep.report.tables import metric_words, p_value
from raysweep.report.worth_views import worth_words

_NAMES = 6  # more are counted
_UP, _DOWN = (MUCH_BETTER, BETTER), (MUCH_WORSE, WORSE)
_WHOLE = 1.0  # of a metric from 0 to 1: no two values differ by more


@dataclass(frozen=True)
class _Told:
    """What a task's sentence is made from. own: its estimates under the primary protocol, one by checkpoint; base: how
    the baseline is called."""

    found: TaskFindings
    own: Mapping[str, Estimate]
    estimates: Mapping[str, Estimate]
    compare: CompareSpec
    base: str

    def by(self, *words: str) -> list[Comparison]:
        """Comparisons with one of the verdicts, in the order of `words`."""
        return [c for word in words for c in self.found.comparisons if c.verdict and c.verdict.word == word]


def task_sentence(found: TaskFindings, findings: Findings, compare: CompareSpec) -> str:
    """What the primary family of a task says, as text that ends with a full stop. found: one of the findings' tasks.

    Nothing is said that p values and intervals corrected over the family do not carry. Where a checkpoint has fewer
    than FEWEST_PRETRAININGS pretrainings it is `this NAME checkpoint`.
    """
    own = {e.cell.checkpoint: e for e in findings.of_task.get((found.task, compare.primary.protocol), ())}
    told = _Told(found, own, findings.estimates, compare, _who(findings.baseline, own.get(findings.baseline)))
    refused = _refused(told)
    if refused:
        return f"{found.task}: {refused}"
    better, worse, same, lacking = (told.by(*words) for words in (_UP, _DOWN, (SAME,), (NOT_ENOUGH,)))
    in_the_mean = _means(found, better, worse)
    all_same = len(same) == len(found.comparisons) > 0
    if better:
        parts = [*_better(told, better), f"Worse: {_where(worse, found)}." if worse else ""]
    elif worse:
        parts = [f"nothing was found better than {told.base}. Worse: {_where(worse, found)}."]
    elif all_same:
        parts = _all_same(told)
    else:
        parts = _undecided(told, bool(in_the_mean))
    parts += [_mean_claim(c, compare) for c in in_the_mean]
    if same and not all_same and not better:
        parts.append(f"No difference that matters: {_where(same, found)}.")
    if lacking:
        parts.append(f"Not enough data: {_where(lacking, found)}.")
    parts.append(_best(found, own))
    return f"{found.task}: {' '.join(part for part in parts if part)}"


def _refused(told: _Told) -> str:
    """Why nothing is said at all; empty where something is."""
    comparisons, lacking = told.found.comparisons, told.by(NOT_ENOUGH)
    if len(lacking) == len([c for c in comparisons if c.difference]) > 0:
        reasons = dict.fromkeys(c.why for c in lacking if c.difference)
        return f"not enough data for a verdict ({'; '.join(reasons)})."
    if all(c.verdict and c.verdict.word in (NOT_COMPARED, NOT_ENOUGH) for c in comparisons):
        return f"nothing could be compared ({comparisons[0].reason})."
    return ""


def _better(told: _Told, better: Sequence[Comparison]) -> list[str]:
    """The leading checkpoint: what it is worth in labels, by how much it is better with the fewest, and until when;
    then the others."""
    found, leader = told.found, _leader(told.found, better)
    first = min((c for c in better if c.cell.checkpoint == leader), key=lambda c: c.cell.fraction)
    claim, worth = _claim(first, told), _worth(told, leader)
    others = [c for c in better if c.cell.checkpoint != leader]
    return [
        *worth,
        claim[0].upper() + claim[1:] if worth else claim,
        _until(told, leader),
        f"Better too: {_where(others, found)}." if others else "",
    ]


def _all_same(told: _Told) -> list[str]:
    found = told.found
    several = len({c.cell.checkpoint for c in found.comparisons}) > 1
    each = "each checkpoint" if several else found.comparisons[0].cell.checkpoint
    sizes = " with every number of labels" if len(found.fractions) > 1 else ""
    parts = [f"{each} differs from {told.base} by less than {_points(told.compare.margin)}{sizes}."]
    if several and any(pair.verdict.word != SAME for pair in found.pairs):
        parts.append("That does not say that they are as close to each other.")
    return parts


def _undecided(told: _Told, in_the_mean: bool) -> list[str]:
    """in_the_mean: whether something was found in the mean over label counts."""
    single, kept = "with no single number of labels a" if in_the_mean else "no", told.by(NOT_WORSE)
    return [
        f"{single} checkpoint was found better or worse than {told.base}; that is not the same as equal.",
        f"Not worse by {_points(told.compare.margin)}: {_where(kept, told.found)}." if kept else "",
        _power(told.found, told.compare),
    ]


def _means(found: TaskFindings, better: Sequence[Comparison], worse: Sequence[Comparison]) -> list[Comparison]:
    """Means over label counts with a verdict that none of their checkpoint's single counts has."""
    said = {(c.cell.checkpoint, up) for up, own in ((True, better), (False, worse)) for c in own}
    verdicts = {BETTER: True, MUCH_BETTER: True, WORSE: False, MUCH_WORSE: False}
    return [c for c in found.means if c.verdict and c.verdict.word in verdicts
            and (c.cell.checkpoint, verdicts[c.verdict.word]) not in said]  # fmt: skip


def _mean_claim(c: Comparison, compare: CompareSpec) -> str:
    assert c.difference
    assert c.verdict
    word = c.verdict.word.replace("the margin", f"the margin of {_points(compare.margin)}")
    chance = _chance(c, compare)
    return (
        f"In the mean over all numbers of labels {c.cell.checkpoint} is {word}: {_points(c.difference.value)} of "
        f"{metric_words(c.metric)}{c.mark} ({chance})."
    )


def _chance(c: Comparison, compare: CompareSpec) -> str:
    v = c.verdict
    assert v
    p = p_value(v.p_corrected)
    found = [] if v.low is None or v.high is None else [f"{percent(1 - compare.alpha)} interval {100 * v.low:.1f} to "
                                                        f"{100 * v.high:.1f}"]  # fmt: skip
    found += [f"corrected p {p if p.startswith('<') else f'= {p}'}"] if p else []
    return ", ".join(found) or "no test"


def _worth(told: _Told, name: str) -> list[str]:
    """What the leading checkpoint is worth in labels, where fewer than the baseline's were found to do."""
    worth = told.found.worth.get(name)
    if worth is None or not worth.saves:
        return []
    return [f"{worth_words(worth, _who(name, told.own.get(name)), told.base, told.compare.alpha)}."]


def _claim(c: Comparison, told: _Told) -> str:
    d, v, e = c.difference, c.verdict, told.estimates[c.cell.key]
    assert d
    assert v
    more = f" by more than the margin of {_points(told.compare.margin)}" if v.word == MUCH_BETTER else ""
    return (
        f"with {size_words(e)}{_pool(told)}, {_who(c.cell.checkpoint, e)} is better than {told.base}{more}: "
        f"{_points(d.value)} of {metric_words(c.metric)}{c.mark} ({_chance(c, told.compare)})."
    )


def _until(told: _Told, name: str) -> str:
    """From where on the leading checkpoint and the baseline are equal."""
    found, margin = told.found, told.compare.margin
    crossing, own = found.crossovers.get(name), [c for c in found.comparisons if c.cell.checkpoint == name]
    tests = [c.difference.p_equal for c in own if c.difference]
    if crossing is None or len(found.fractions) < 2 or margin <= 0 or not any(p is not None for p in tests):
        return ""
    images = {c.cell.fraction: e.n_images for c in own if (e := told.estimates.get(c.cell.key))}
    within = f"within {_points(margin)}"
    if crossing.equal_from is not None:
        return f"The two are equal {within} from {images[found.fractions[crossing.equal_from]]} images on."
    return f"Equality {within} is not reached with up to {max(images.values())} images."


def _power(found: TaskFindings, compare: CompareSpec) -> str:
    """What could have been found, and what would help."""
    tests = [c.difference.found for c in found.comparisons if c.difference and c.difference.found and c.verdict
             and c.verdict.word == UNDECIDED]  # fmt: skip
    if not tests:
        return ""
    m = found.comparisons[0].verdict.m if found.comparisons[0].verdict else 1
    smallest = [t.smallest_detectable(compare.alpha, m) for t in tests]
    possible = [d for d in smallest if d < _WHOLE]
    if not possible:
        text = "With these units and repeats no difference is found with a power of 80 %"
    else:
        least, most = _points(min(possible)), _points(max(possible))
        range_ = most if least == most else f"{least.split()[0]} to {most}"
        none = f", and none in {len(smallest) - len(possible)} of {len(smallest)} comparisons"
        text = f"With these units and repeats a difference is found with a power of 80 % from {range_} on"
        text += none if len(possible) < len(smallest) else ""
    stuck = sum(t.units_cannot_settle(compare.margin) for t in tests)
    if stuck:
        which = "" if stuck == len(tests) else f" in {stuck} of {len(tests)} comparisons"
        text += f"; more test units cannot show a difference of {_points(compare.margin)}{which}, more repeats can"
    return text + "."


def _best(found: TaskFindings, own: Mapping[str, Estimate]) -> str:
    kept = found.best.get(None, ())
    over = ", over all numbers of labels" if len(found.fractions) > 1 else ""
    if not kept or len(own) < 2:
        return ""
    if len(kept) == len(own):
        return f"Of all {len(own)} checkpoints any may be the best{over}." if len(own) > 2 else ""
    return f"May be the best{over}: {_series(list(kept))}."


def _leader(found: TaskFindings, better: Sequence[Comparison]) -> str:
    """Of the checkpoints that were found better, the one that leads over all fractions."""
    names = list(dict.fromkeys(c.cell.checkpoint for c in better))
    leading = [name for name in found.best.get(None, ()) if name in names]
    gains = {n: max(c.difference.value for c in better if c.cell.checkpoint == n and c.difference) for n in names}
    return leading[0] if leading else max(names, key=lambda name: gains[name])


def _where(comparisons: Sequence[Comparison], found: TaskFindings) -> str:
    """`simclr (10 %, 50 %), byol`: fractions where it is not all of them."""
    names = []
    for name in dict.fromkeys(c.cell.checkpoint for c in comparisons):
        at = [c.cell.fraction for c in comparisons if c.cell.checkpoint == name]
        names.append(
            name if len(at) == len(found.fractions) else f"{name} ({', '.join(percent(f) for f in sorted(at))})"
        )
    return _series(names)


def _pool(told: _Told) -> str:
    """`, from this pool of 40 patients`: every draw of labels is from the same pool, whose size is that at 100 %."""
    whole = [e for c in told.found.comparisons if c.cell.fraction == 1 and (e := told.estimates.get(c.cell.key))]
    if not whole or len(told.found.fractions) < 2:
        return ""
    e = whole[0]
    count = e.n_images if e.unit == "image" else e.n_train_units
    return f", from this pool of {count} {unit_words(e.unit, count)}"


def _who(name: str, estimate: Estimate | None) -> str:
    if estimate is None or estimate.pretrainings < FEWEST_PRETRAININGS:
        return f"this {name} checkpoint"
    return f"{name} ({estimate.pretrainings} seeds)"


def _points(value: float) -> str:
    text = f"{100 * value:.1f}".removesuffix(".0")
    return f"{text} point{'s' * (text != '1')}"


def _series(names: list[str]) -> str:
    shown = names[:_NAMES] + ([f"{len(names) - _NAMES} more"] if len(names) > _NAMES else [])
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
