"""The primary family of each task: its comparisons judged together, its best checkpoints, crossovers and pairs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from raysweep.report.best import best_set
from raysweep.report.crossover import crossovers
from raysweep.report.family import BETTER, MUCH_BETTER, MUCH_WORSE, NOT_WORSE, SAME, UNDECIDED, WORSE, Verdict
from raysweep.report.findings import Comparison, Pair, TaskFindings
from raysweep.report.intervals import Difference, Scores, mean_difference, paired_difference
from raysweep.report.rules import rules
from raysweep.report.spec import CompareSpec


def judge_task(
    comparisons: Sequence[Comparison],
    scores: Mapping[float, Mapping[str, Scores]],
    compare: CompareSpec,
    *,
    lacking: Mapping[float, Collection[str]],
) -> TaskFindings:
    """comparisons: of one task with the baseline, none judged yet, fractions ascending. scores: of its checkpoints at
    each fraction, those that have any. lacking: names of those that lack the value of a planned repeat."""
    fractions = tuple(sorted({c.cell.fraction for c in comparisons}))
    curves: dict[str, list[Comparison]] = {}
    for c in comparisons:
        curves.setdefault(c.cell.checkpoint, []).append(c)
    means = [_mean(own, compare) for own in curves.values()] if len(fractions) > 1 else []
    verdicts = rules()[compare.rule].judge(
        [c.difference for c in [*comparisons, *means]],
        [c.cell.checkpoint for c in comparisons] + [None] * len(means),
        alpha=compare.alpha,
        margin=compare.margin,
        correction=compare.correction,
    )
    judged = [replace(c, verdict=_allowed(v, c.lacks)) for c, v in zip([*comparisons, *means], verdicts, strict=True)]
    complete = {name: [c.difference if not any(c.lacks) else None for c in own] for name, own in curves.items()}
    found = crossovers(list(complete.values()), alpha=compare.alpha, margin=compare.margin)
    between = {f: _pairs(scores.get(f, {}), compare) for f in fractions}
    return TaskFindings(
        task=comparisons[0].cell.task,
        metric=comparisons[0].metric,
        fractions=fractions,
        comparisons=judged[: len(comparisons)],
        means=judged[len(comparisons) :],
        crossovers=dict(zip(complete, found, strict=True)),
        best=_best(between, compare, frozenset().union(*lacking.values())),
        pairs=_judged(between, compare, lacking),
    )


def _how(compare: CompareSpec) -> dict[str, Any]:
    return {"alpha": compare.alpha, "margin": compare.margin, "test": rules()[compare.rule].test}


def _mean(own: list[Comparison], compare: CompareSpec) -> Comparison:
    """The mean of a checkpoint's differences over fractions."""
    differences = [c.difference for c in own if c.difference]
    whole = len(differences) == len(own)
    mean = mean_difference(differences, **_how(compare)) if whole else None
    reason = "" if mean else next((c.reason for c in own if c.reason), "not the same repeats at every fraction")
    lacks = (any(c.lacks[0] for c in own), any(c.lacks[1] for c in own))
    fractions = tuple(c.cell.fraction for c in own)
    return replace(own[-1], difference=mean, reason=reason, lacks=lacks, fractions=fractions)


def _allowed(verdict: Verdict, lacks: tuple[bool, bool]) -> Verdict:
    """What repeats without a value allow to be said: those that are missing may be the bad ones.

    A checkpoint that lacks some is called neither better nor equal; where the baseline does, nobody is called worse.
    """
    ours, base = lacks
    barred = {MUCH_BETTER, BETTER, SAME, NOT_WORSE} if ours else set()
    barred |= {MUCH_WORSE, WORSE, SAME} if base else set()
    return replace(verdict, word=UNDECIDED) if verdict.word in barred else verdict


def _pairs(scores: Mapping[str, Scores], compare: CompareSpec) -> dict[tuple[str, str], Difference]:
    return {(a, b): paired_difference(scores[a], scores[b], **_how(compare)) for a, b in combinations(scores, 2)}


def _judged(
    between: Mapping[float, Mapping[tuple[str, str], Difference]],
    compare: CompareSpec,
    lacking: Mapping[float, Collection[str]],
) -> list[Pair]:
    """All pairs at all fractions as one family."""
    found = [(a, b, f, d) for f, pairs in between.items() for (a, b), d in pairs.items()]
    verdicts = rules()[compare.rule].judge(
        [d for *_, d in found],
        [(a, b) for a, b, *_ in found],
        alpha=compare.alpha,
        margin=compare.margin,
        correction=compare.correction,
    )
    return [
        Pair(a, b, f, d, _allowed(verdict, (a in lacking.get(f, ()), b in lacking.get(f, ()))))
        for (a, b, f, d), verdict in zip(found, verdicts, strict=True)
    ]


def _best(
    between: Mapping[float, Mapping[tuple[str, str], Difference]], compare: CompareSpec, lacking: Collection[str]
) -> dict[float | None, tuple[str, ...]]:
    out: dict[float | None, tuple[str, ...]] = {f: _best_of(pairs, compare, lacking) for f, pairs in between.items()}
    common = [key for key in next(iter(between.values()), {}) if all(key in pairs for pairs in between.values())]
    if len(between) == 1:
        out[None] = next(iter(out.values()))
    else:
        means = {key: mean_difference([pairs[key] for pairs in between.values()], **_how(compare)) for key in common}
        out[None] = _best_of(means, compare, lacking)
    return out


def _best_of(
    pairs: Mapping[tuple[str, str], Difference | None], compare: CompareSpec, lacking: Collection[str]
) -> tuple[str, ...]:
    """A checkpoint that lacks a repeat rules nobody out: what is missing may be its bad one."""
    of: dict[str, dict[str, Difference | None]] = {}
    for (a, b), d in pairs.items():
        of.setdefault(a, {})[b] = d if b not in lacking else None
        of.setdefault(b, {})[a] = d.turned() if d and a not in lacking else None
    return best_set(of, alpha=compare.alpha, joint=compare.rule == "crossed")
