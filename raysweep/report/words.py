"""The answer in sentences."""

from collections.abc import Sequence
from dataclasses import dataclass

from raysweep.report.cells import percent
from raysweep.report.family import (
    BETTER,
    MUCH_BETTER,
    MUCH_WORSE,
    NOT_COMPARED,
    NOT_ENOUGH,
    NOT_WORSE,
    SAME,
    UNDECIDED,
    VERDICTS,
    WORSE,
)
from raysweep.report.findings import Comparison, Findings
from raysweep.report.rules import rules
from raysweep.report.sentences import task_sentence
from raysweep.report.spec import CompareSpec
from raysweep.report.tables import with_interval

_DETAILS = 8  # more comparisons than this of one verdict are counted, not listed
_LINES = 12  # checkpoints that get a line
_INTERVALS = 3  # more than this are listed without their intervals
_TOTALS = {MUCH_BETTER: "found better by more than the margin", BETTER: "found better",
           MUCH_WORSE: "found worse by more than the margin", WORSE: "found worse",
           SAME: "shown to make no difference that matters", NOT_WORSE: "found not worse by the margin",
           UNDECIDED: "undecided", NOT_ENOUGH: "without enough data", NOT_COMPARED: "not compared"}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """What was found for one checkpoint: verdicts, each with the comparisons it holds for."""

    checkpoint: str
    parts: list[tuple[str, list[str]]]


@dataclass(frozen=True)
class Answer:
    """The headline, what each task says, totals, and a line per checkpoint (`lines_left` more are not shown)."""

    headline: str
    sentences: list[str]
    totals: str
    lines: list[Line]
    lines_left: int = 0


def answer(
    findings: Findings,
    *,
    compare: CompareSpec,
    checkpoints: Sequence[str],
    finished: int,
    planned: int,
    exploratory: bool = False,
) -> Answer:
    """The report's first words, from the primary families alone.

    checkpoints: all of the study, in order. finished, planned: cells. exploratory: what is compared was changed after
    results were there.
    """
    base, family = findings.baseline, [c for c in findings.comparisons if c.verdict]
    protocol = compare.primary.protocol
    if not finished:
        return Answer("There is no answer yet: no repeat is finished.", [], f"{planned} cells are planned.", [])
    if base not in checkpoints:
        return Answer(
            f"There is no verdict: the baseline {base} is not among the checkpoints of this study.",
            [],
            "The values below stand on their own.",
            [],
        )
    if not family:
        why = (
            f"only {base} was studied"
            if len(checkpoints) < 2
            else f"no cell uses {protocol}, the protocol that the comparison was fixed for"
        )
        return Answer(f"There is no verdict: {why}.", [], "The values below stand on their own.", [])
    counts = {word: sum(c.verdict.word == word for c in family if c.verdict) for word in VERDICTS}
    parts = [f"{counts[word]} {_TOTALS[word]}" for word in VERDICTS if counts[word]]
    judged = "" if compare.rule == "crossed" else f", judged by {rules()[compare.rule].said}"
    totals = f"{_count(len(family), 'comparison')} with {base} ({protocol}){judged}: {', '.join(parts)}."
    of: dict[str, list[Comparison]] = {}
    for c in family:
        of.setdefault(c.cell.checkpoint, []).append(c)
    lines = [_line(name, of.get(name, [])) for name in checkpoints if name != base]
    lines = [line for line in lines if line.parts]
    if len(lines) > _LINES:  # what was found goes before what was not
        lines = sorted(lines, key=lambda line: min(VERDICTS.index(word) for word, _ in line.parts))
    sentences = [task_sentence(f, findings, compare) for f in findings.tasks]
    means = [c for task in findings.tasks for c in task.means if c.verdict]
    headline = sentences.pop() if len(sentences) == 1 else _headline(base, family, means, counts)
    if exploratory:
        headline = f"Exploratory: the comparison was changed after results were there. {headline}"
    return Answer(headline, sentences, totals, lines[:_LINES], max(0, len(lines) - _LINES))


def _headline(base: str, family: list[Comparison], means: list[Comparison], counts: dict[str, int]) -> str:
    """Over several tasks, each of which has a sentence of its own below. means: over label counts."""
    if counts[NOT_COMPARED] == len(family):
        return f"There is no verdict: nothing could be compared with the baseline {base}."
    if counts[NOT_COMPARED] + counts[NOT_ENOUGH] == len(family):
        return "Not enough data for a verdict."
    judged = [*family, *means]
    better, worse = _names(judged, (MUCH_BETTER, BETTER)), _names(judged, (MUCH_WORSE, WORSE))
    if better or worse:
        parts = [f"Better than {base}: {_series(better)}." if better else f"Nothing was found better than {base}."]
        parts += [f"Worse: {_series(worse)}."] if worse else []
        others = _neither(judged)  # who asks for them must not look in vain
        parts += [f"Found neither better nor worse: {_series(others)}."] if others else []
        return " ".join(parts)
    if counts[SAME] == len(family):
        return f"No checkpoint differs from {base} by the margin."
    return f"No checkpoint was found better or worse than {base}; that is not the same as equal."


def _names(family: list[Comparison], words: Sequence[str]) -> list[str]:
    """`simclr (in 2 of 3 tasks)` for each checkpoint with one of the verdicts somewhere in a task."""
    tasks = len({c.cell.task for c in family})
    hits: dict[str, set[str]] = {}
    for c in family:
        own = hits.setdefault(c.cell.checkpoint, set())
        if c.verdict and c.verdict.word in words:
            own.add(c.cell.task)
    out = [f"{name} (in {len(own)} of {tasks} tasks)" if tasks > 1 else name for name, own in hits.items() if own]
    return _few(out)


def _neither(judged: list[Comparison]) -> list[str]:
    """Checkpoints that are neither better nor worse than the baseline in any task."""
    moved = (MUCH_BETTER, BETTER, MUCH_WORSE, WORSE)
    found = {c.cell.checkpoint for c in judged if c.verdict and c.verdict.word in moved}
    return _few([name for name in dict.fromkeys(c.cell.checkpoint for c in judged) if name not in found])


def _few(names: list[str]) -> list[str]:
    return names[:4] + ([f"{len(names) - 4} more"] if len(names) > 4 else [])


def _line(name: str, family: list[Comparison]) -> Line:
    """family: those of this checkpoint."""
    parts = []
    for word in VERDICTS:
        own = [c for c in family if c.verdict and c.verdict.word == word]
        if len(own) > _DETAILS:
            parts.append((word, [f"{len(own)} comparisons, listed below"]))
        elif own:
            tasks = dict.fromkeys(c.cell.task for c in own)
            few = len(own) <= _INTERVALS
            parts.append((word, [_detail(task, [c for c in own if c.cell.task == task], few) for task in tasks]))
    return Line(name, parts)


def _detail(task: str, comparisons: list[Comparison], intervals: bool) -> str:
    """`glands at 10 % (+0.089), 50 % (+0.086)`, numbers kept on one line."""
    where = []
    for c in comparisons:
        text, d, v = percent(c.cell.fraction), c.difference, c.verdict
        if d:
            shown = with_interval(d.value, *((v.low, v.high) if intervals and v else (None, None)), sign=True)
            text += f" ({shown}{c.mark})"
        where.append(text.replace(" ", "\u00a0"))
    return f"{task} at {', '.join(where)}"


def _series(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"
