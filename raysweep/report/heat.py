"""Heat maps: numbers in colour; and that of checkpoints against tasks under the primary comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
from raysweep.report.spec import CompareSpec
from raysweep.report.tables import metric_words, number

FEWEST_CHECKPOINTS = 3  # with fewer, the map of a single task says nothing that the values do not
_LEGEND = (
    ((BETTER, MUCH_BETTER), "better"),
    ((WORSE, MUCH_WORSE), "worse"),
    ((SAME,), SAME),
    ((NOT_WORSE,), NOT_WORSE),
    ((UNDECIDED,), UNDECIDED),
    ((NOT_ENOUGH, NOT_COMPARED), "no verdict"),
)


@dataclass(frozen=True)
class HeatCell:
    """text: a number, or why there is none. word: its verdict. share: its colour, 0 to 1 of a map's scale; below zero
    down to -1 in the other colour. title: the same in a sentence."""

    text: str
    word: str
    share: float
    title: str


@dataclass(frozen=True)
class HeatMap:
    """A row per checkpoint; columns are headings with what stands below them. A cell is None where there is none."""

    title: str
    columns: list[tuple[str, str]]
    rows: list[tuple[str, list[HeatCell | None]]]
    note: str = ""


def task_map(findings: Findings, compare: CompareSpec, checkpoints: Sequence[str]) -> HeatMap | None:
    """Checkpoints against tasks: the value under the primary protocol, its mean where there are several fractions, and
    the verdict against the baseline. Each column has a scale of its own, from its lowest value to its highest.

    None where one task has fewer than FEWEST_CHECKPOINTS checkpoints, or no task has a comparison.
    """
    values: dict[tuple[str, str], dict[float, Estimate]] = {}
    for e in findings.estimates.values():
        if (
            e.cell.protocol == compare.primary.protocol
            and not e.cell.tested_on
            and e.interval.value == e.interval.value
        ):
            values.setdefault((e.cell.task, e.cell.checkpoint), {})[e.cell.fraction] = e
    tasks = [found for found in findings.tasks if any(task == found.task for task, _ in values)]
    names = [n for n in checkpoints if any(name == n for _, name in values)]
    if not tasks or (len(tasks) == 1 and len(names) < FEWEST_CHECKPOINTS):
        return None
    columns = [_column(found, names, values, findings.baseline) for found in tasks]
    several = any(len(found.fractions) > 1 for found in tasks)
    what = "mean over the numbers of labels" if several else "value"
    note = (
        f"{what[0].upper()}{what[1:]}, and its verdict against {findings.baseline}, under {compare.primary.protocol}. "
        "Each column has its own scale: the stronger the colour, the higher in that column. Colours of two columns do "
        "not compare."
    )
    heads = [(found.task, metric_words(found.metric)) for found in tasks]
    rows = [(name, [column[i] for column in columns]) for i, name in enumerate(names)]
    return HeatMap("Checkpoints and tasks", heads, rows, note)


def _column(
    found: TaskFindings, names: Sequence[str], values: Mapping[tuple[str, str], Mapping[float, Estimate]], baseline: str
) -> list[HeatCell | None]:
    judged = found.means or found.comparisons
    verdicts = {c.cell.checkpoint: c for c in judged}
    at: dict[str, float] = {}
    for name in names:
        own = values.get((found.task, name), {})
        if own and set(own) >= set(found.fractions):
            at[name] = sum(own[f].interval.value for f in found.fractions) / len(found.fractions)
    low, high = (min(at.values()), max(at.values())) if at else (0.0, 0.0)
    column: list[HeatCell | None] = []
    for name in names:
        if name not in at:
            some = bool(values.get((found.task, name)))
            column.append(
                HeatCell("not all", "", 0.0, f"{name} on {found.task}: not at every fraction") if some else None
            )
            continue
        share = (at[name] - low) / (high - low) if high > low else 0.5
        c = verdicts.get(name)
        mark = next(iter(values[found.task, name].values())).cell.mark
        column.append(HeatCell(number(at[name], 3) + mark, c.verdict.word if c and c.verdict else "", share,
                               _said(name, found, at[name], c, baseline)))  # fmt: skip
    return column


def _said(name: str, found: TaskFindings, value: float, c: Comparison | None, baseline: str) -> str:
    said = f"{name} on {found.task}: {metric_words(found.metric)} {number(value, 3)}"
    if name == baseline:
        return f"{said}, the baseline"
    if c is None or c.difference is None or c.verdict is None:
        return said
    return f"{said}, {number(c.difference.value, 3, sign=True)} to {baseline}: {c.verdict.word}"


def legend(maps: Sequence[HeatMap]) -> list[tuple[str, str]]:
    """The verdicts that occur in maps: a word that has the sign, and what the sign means."""
    used = {c.word for m in maps for _, cells in m.rows for c in cells if c}
    return [(words[0], meaning) for words, meaning in _LEGEND if used & set(words)]
