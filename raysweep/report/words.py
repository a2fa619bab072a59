"""The answer in sentences."""

from collections.abc import Sequence
from dataclasses import dataclass

from raysweep.report.cells import percent
from raysweep.report.compare import Comparison, Findings
from raysweep.report.family import BETTER, NOT_COMPARED, SAME, UNDECIDED, VERDICTS, WORSE
from raysweep.report.tables import with_interval

_DETAILS = 8  # more comparisons than this of one verdict are counted, not listed
_LINES = 12  # checkpoints that get a line
_INTERVALS = 3  # more than this are listed without their intervals
_TOTALS = {BETTER: "found better", WORSE: "found worse", SAME: "shown to make no difference that matters",
           UNDECIDED: "undecided", NOT_COMPARED: "not compared"}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """What was found for one checkpoint: verdicts, each with the comparisons it holds for."""

    checkpoint: str
    parts: list[tuple[str, list[str]]]


@dataclass(frozen=True)
class Answer:
    """The headline, a sentence of totals, and a line per checkpoint (`lines_left` more are not shown)."""

    headline: str
    totals: str
    lines: list[Line]
    lines_left: int = 0


def answer(
    findings: Findings,
    *,
    protocol: str,
    checkpoints: Sequence[str],
    finished: int,
    planned: int,
    exploratory: bool = False,
) -> Answer:
    """The report's first words, from the primary family alone.

    checkpoints: all of the study, in order. finished, planned: cells. exploratory: what is compared was changed after
    results were there.
    """
    base, family = findings.baseline, [c for c in findings.comparisons if c.verdict]
    if not finished:
        return Answer("There is no answer yet: no repeat is finished.", f"{planned} cells are planned.", [])
    if base not in checkpoints:
        return Answer(
            f"There is no verdict: the baseline {base} is not among the checkpoints of this study.",
            "The values below stand on their own.",
            [],
        )
    if not family:
        why = (
            f"only {base} was studied"
            if len(checkpoints) < 2
            else f"no cell uses {protocol}, the protocol that the comparison was fixed for"
        )
        return Answer(f"There is no verdict: {why}.", "The values below stand on their own.", [])
    counts = {word: sum(c.verdict.word == word for c in family if c.verdict) for word in VERDICTS}
    parts = [f"{counts[word]} {_TOTALS[word]}" for word in VERDICTS if counts[word]]
    totals = f"{_count(len(family), 'comparison')} with {base} ({protocol}): {', '.join(parts)}."
    lines = [_line(name, family) for name in checkpoints if name != base]
    lines = [line for line in lines if line.parts]
    if len(lines) > _LINES:  # what was found goes before what was not
        lines = sorted(lines, key=lambda line: min(VERDICTS.index(word) for word, _ in line.parts))
    headline = _headline(base, family, counts)
    if exploratory:
        headline = f"Exploratory: the comparison was changed after results were there. {headline}"
    return Answer(headline, totals, lines[:_LINES], max(0, len(lines) - _LINES))


def _headline(base: str, family: list[Comparison], counts: dict[str, int]) -> str:
    if counts[NOT_COMPARED] == len(family):
        return f"There is no verdict: nothing could be compared with the baseline {base}."
    better, worse = _names(family, BETTER), _names(family, WORSE)
    if better:
        first = f"Better than {base}: {_series(better)}."
        return first + (f" Worse: {_series(worse)}." if worse else "")
    if worse:
        return f"Nothing was found better than {base}. Worse: {_series(worse)}."
    if counts[SAME] == len(family):
        return f"Which checkpoint is taken makes no difference that matters: none differs from {base} by the margin."
    return f"No checkpoint was found better or worse than {base}."


def _names(family: list[Comparison], word: str) -> list[str]:
    """`simclr (in 2 of 3 comparisons)` for each checkpoint with the verdict."""
    out = []
    for name in dict.fromkeys(c.cell.checkpoint for c in family):
        own = [c for c in family if c.cell.checkpoint == name and c.verdict]
        hits = sum(c.verdict.word == word for c in own if c.verdict)
        if hits:
            part = f"all {len(own)}" if hits == len(own) else f"{hits} of {len(own)}"
            out.append(name if len(own) == 1 else f"{name} (in {part} comparisons)")
    return out[:4] + ([f"{len(out) - 4} more"] if len(out) > 4 else [])


def _line(name: str, family: list[Comparison]) -> Line:
    parts = []
    for word in VERDICTS:
        own = [c for c in family if c.cell.checkpoint == name and c.verdict and c.verdict.word == word]
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
        text, d = percent(c.cell.fraction), c.difference
        if d:
            shown = with_interval(d.value, *((d.low, d.high) if intervals else (None, None)), sign=True)
            text += f" ({shown}{c.mark})"
        where.append(text.replace(" ", "\u00a0"))
    return f"{task} at {', '.join(where)}"


def _series(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"
