"""Over tasks, for the page: values to rank, sentences, and tables of ranks, of pairs and of one row per task."""

from collections.abc import Sequence

import numpy as np

from raysweep.report.cells import CellRef, percent
from raysweep.report.family import holm
from raysweep.report.findings import Comparison, Estimate, TaskFindings
from raysweep.report.over_tasks import FEWEST_BLOCKS, OverTasks
from raysweep.report.spec import CompareSpec
from raysweep.report.tables import Table, number, p_value

_TASKS = ("task", "metric", "checkpoint", "fraction", "smallest p corrected", "p over tasks", "comparisons")


def values_to_rank(estimates: Sequence[Estimate], protocol: str) -> dict[str, dict[str, float]]:
    """By task and checkpoint, the mean value over label fractions under the primary protocol.

    Of the tasks' own test sets; without checkpoints that lack a repeat, or a fraction that another one has.
    """
    of: dict[str, dict[str, list[Estimate]]] = {}
    for e in estimates:
        if e.cell.protocol == protocol and not e.cell.tested_on:
            of.setdefault(e.cell.task, {}).setdefault(e.cell.checkpoint, []).append(e)
    out: dict[str, dict[str, float]] = {}
    for task, here in of.items():
        fractions = {e.cell.fraction for own in here.values() for e in own}
        for name, own in here.items():
            found = {e.cell.fraction: e.interval.value for e in own if e.complete}
            if found.keys() == fractions and not np.isnan(list(found.values())).any():
                out.setdefault(task, {})[name] = float(np.mean(list(found.values())))
    return out


def data_sets(cells: Sequence[CellRef]) -> dict[str, str]:
    """What each task's images are from."""
    return {cell.task: cell.data_set for cell in cells}


def tasks_table(tasks: Sequence[TaskFindings]) -> Table:
    """A row per task: its smallest corrected p value, whose that is, and the same after Holm's method over tasks.

    What is tested is that no checkpoint differs from the baseline anywhere on the task.
    """
    leads = [min((c for c in found.comparisons if _p(c) is not None), key=lambda c: _p(c) or 0.0, default=None)
             for found in tasks]  # fmt: skip
    over = holm([_p(c) if c else None for c in leads])
    rows = [
        [found.task, found.metric, c.cell.checkpoint if c else "", f"{c.cell.fraction:g}" if c else "",
         p_value(_p(c) if c else None), p_value(p), str(len(found.comparisons) + len(found.means))]
        for found, c, p in zip(tasks, leads, over, strict=True)
    ]  # fmt: skip
    return Table("tasks", _TASKS, rows, frozenset(_TASKS) - {"task", "metric", "checkpoint"})


def ranks_table(found: OverTasks | None) -> Table:
    """A row per checkpoint: its mean rank over blocks, then its rank on each task."""
    if found is None:
        return Table("ranks", ("checkpoint", "mean rank"), [], frozenset({"mean rank"}))
    headers = ("checkpoint", "mean rank", *(f"rank on {task}" for task in found.tasks))
    rows = [
        [name, number(float(found.mean_ranks[k]), 2), *(number(float(r), 1) for r in found.ranks[:, k])]
        for k, name in enumerate(found.names)
    ]
    return Table("ranks", headers, rows, frozenset(headers[1:]))


def rank_pairs_table(found: OverTasks | None) -> Table:
    """A row per pair of checkpoints, the one with the better rank first."""
    headers = ("first", "second", "p", "p over pairs", "tasks", "data sets")
    counts = [str(len(found.tasks)), str(len(found.blocks))] if found else []
    rows = [[a, b, p_value(p), p_value(q), *counts] for a, b, p, q in found.pairs] if found else []
    return Table("rank_pairs", headers, rows, frozenset(headers[2:]))


def over_tasks_lines(found: OverTasks | None, tasks: Table, compare: CompareSpec) -> list[str]:
    """What is said above the ranks."""
    lines, alpha = [], compare.alpha
    p = [row[5] for row in tasks.rows]
    if len(p) > 1:
        below = [row[0] for row in tasks.rows if (plain := getattr(row[5], "plain", "")) and float(plain) < alpha]
        lines.append(
            f"Corrected over all {len(p)} tasks too (Holm), some checkpoint differs from the baseline on "
            f"{', '.join(below) if below else 'none of them'}."
        )
    if found is None:
        return lines
    ranked = ", ".join(f"{n} {r:.2f}" for n, r in zip(found.names, found.mean_ranks, strict=True))
    same = [" and ".join(block) for block in found.blocks if len(block) > 1]
    said = (
        f"Average rank over {len(found.tasks)} tasks (1 is the best; ranked: means over numbers of labels): {ranked}."
    )
    if same:
        said += f" From one data set each, and so one vote together: {'; '.join(same)}."
    if found.left_out:
        said += f" Not ranked, for lack of a checkpoint's value: {', '.join(found.left_out)}."
    lines.append(said)
    n = len(found.blocks)
    if not found.pairs:
        lines.append(
            f"No test: {n} data set{'s' * (n != 1)} cannot tell, from {FEWEST_BLOCKS} on one can ("
            f"{percent(alpha)} level). Ranks alone are no evidence that one is better."
        )
        return lines
    apart = [f"{a} before {b} (p {_equals(q)})" for a, b, _, q in found.pairs if q < alpha]
    any_at_all = "" if found.friedman is None else f"Friedman's test: p {_equals(found.friedman)}. "
    how = "Nemenyi's test of mean ranks" if compare.over_tasks == "nemenyi" else "Wilcoxon's signed ranks, Holm"
    lines.append(f"{any_at_all}Pairs that differ ({how}): {'; '.join(apart) or 'none'}.")
    return lines


def _p(c: Comparison) -> float | None:
    return c.verdict.p_corrected if c.verdict else None


def _equals(p: float) -> str:
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"
