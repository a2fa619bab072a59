"""Checkpoints over several tasks: average ranks, and a test from six independent tasks on.

Values of different tasks have no common scale, so each task ranks the checkpoints (1 is the best, equals share the mean
of their ranks). Tasks of one data set are no independent witnesses: they are one block, ranked once more by the mean of
their ranks. With FEWEST_BLOCKS blocks or more:

- Friedman's test (J. Am. Stat. Assoc. 32, 1937; its chi-square) of any difference at all, from three checkpoints on,
- Wilcoxon's signed rank test of each pair over blocks, on differences of values (in a block their mean), corrected by
  Holm's method over pairs (Benavoli, Corani and Mangili, J. Mach. Learn. Res. 17, 2016: not by mean ranks, where who
  differs would depend on who else is there). Where Friedman's p is larger, a pair has that.
- or Nemenyi's test of mean ranks instead (Demsar, J. Mach. Learn. Res. 7, 2006, sec. 3.2.2): the studentized range of
  (R_i - R_j) / sqrt(k (k + 1) / (12 N)), k checkpoints, N blocks, corrected by itself.

Below six blocks no pair can come out below 0.05: ranks are given alone. Both tests take a task's value as it is; how
sure it is goes in nowhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from raysweep.report.family import holm
from raysweep.report.signed_rank import signed_rank_p

FEWEST_BLOCKS = 6  # two-sided signed ranks of 5 give 0.0625 at the least, of 6 0.031
Pairs = tuple[tuple[str, str, float, float], ...]
_DIGITS = 12  # what is equal up to rounding is a tie


@dataclass(frozen=True)
class OverTasks:
    """names: checkpoints, the best mean rank first. tasks: those that were ranked on. blocks: the tasks of each block.

    ranks: (tasks, names) in each task. mean_ranks: (names,) over blocks. left_out: tasks where a checkpoint has no
    value, and checkpoints that have none anywhere. friedman: p value; None: fewer than three checkpoints or six blocks.
    pairs: (first, second, p, corrected p), the better rank first; empty below six blocks. groups: places in `names`,
    first and last, of neighbours among which no pair was found to differ.
    """

    names: tuple[str, ...]
    tasks: tuple[str, ...]
    blocks: tuple[tuple[str, ...], ...]
    ranks: np.ndarray
    mean_ranks: np.ndarray
    left_out: tuple[str, ...] = ()
    friedman: float | None = None
    pairs: Pairs = ()
    groups: tuple[tuple[int, int], ...] = ()


def over_tasks(
    values: Mapping[str, Mapping[str, float]], data_sets: Mapping[str, str], *, alpha: float, nemenyi: bool = False
) -> OverTasks | None:
    """Rank checkpoints over tasks; None with fewer than two of either.

    values: by task, then checkpoint; larger is better. data_sets: what a task's images are from, by task; tasks that
    are not in it, or from "", are a block of their own. nemenyi: that test of pairs instead of Wilcoxon's.
    """
    everyone = list(dict.fromkeys(name for own in values.values() for name in own))
    tasks = [task for task, own in values.items() if all(name in own for name in everyone)]
    if len(tasks) < 2 or len(everyone) < 2:
        return None
    table = np.round([[values[task][name] for name in everyone] for task in tasks], _DIGITS)
    ranks = stats.rankdata(-table, axis=1)
    place: dict[tuple[str, str], list[int]] = {}
    for i, task in enumerate(tasks):
        own = data_sets.get(task, "")
        place.setdefault((own, "" if own else task), []).append(i)
    of_blocks = np.stack([stats.rankdata(np.round(ranks[rows].mean(0), _DIGITS)) for rows in place.values()])
    mean = of_blocks.mean(0)
    order = sorted(range(len(everyone)), key=lambda k: (round(float(mean[k]), _DIGITS), k))
    table, ranks, of_blocks = table[:, order], ranks[:, order], of_blocks[:, order]
    names = tuple(everyone[k] for k in order)
    friedman: float | None = None
    pairs: Pairs = ()
    if len(place) >= FEWEST_BLOCKS:
        friedman = float(stats.friedmanchisquare(*of_blocks.T).pvalue) if len(names) > 2 else None
        if nemenyi:
            pairs = _nemenyi(names, of_blocks.mean(0), len(place))
        else:
            pairs = _pairs(names, np.stack([table[rows].mean(0) for rows in place.values()]), friedman or 0.0)
    return OverTasks(
        names=names,
        tasks=tuple(tasks),
        blocks=tuple(tuple(tasks[i] for i in rows) for rows in place.values()),
        ranks=ranks,
        mean_ranks=mean[order],
        left_out=tuple(task for task in values if task not in tasks),
        friedman=friedman,
        pairs=pairs,
        groups=_groups(names, pairs, alpha) if pairs else (),
    )


def _nemenyi(names: tuple[str, ...], mean: np.ndarray, n: int) -> Pairs:
    k = len(names)
    p = {(a, b): float(stats.studentized_range.sf((mean[b] - mean[a]) / np.sqrt(k * (k + 1) / (12 * n)), k, np.inf))
         for a, b in combinations(range(k), 2)}  # fmt: skip
    return tuple((names[a], names[b], q, q) for (a, b), q in p.items())


def _pairs(names: tuple[str, ...], values: np.ndarray, least: float) -> Pairs:
    """values: (blocks, names). least: no corrected p is smaller."""
    ends = list(combinations(range(len(names)), 2))
    raw = [signed_rank_p(values[:, a] - values[:, b]) for a, b in ends]
    corrected = [max(least, p if p is not None else 1.0) for p in holm(raw)]
    return tuple((names[a], names[b], p, q) for (a, b), p, q in zip(ends, raw, corrected, strict=True))


def _groups(names: tuple[str, ...], pairs: Pairs, alpha: float) -> tuple[tuple[int, int], ...]:
    """The longest runs of neighbours without a difference; those of one name alone are left out."""
    apart = {(a, b) for a, b, _, p in pairs if p < alpha}
    found: list[tuple[int, int]] = []
    for first in range(len(names)):
        last = first
        while last + 1 < len(names) and not any((names[i], names[last + 1]) in apart for i in range(first, last + 1)):
            last += 1
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return tuple(found)
