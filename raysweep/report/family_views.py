"""Tables of the primary families: which checkpoints may be the best, where curves meet, and all pairs."""

from collections.abc import Mapping, Sequence

from raysweep.report.cells import percent
from raysweep.report.findings import Estimate, TaskFindings
from raysweep.report.tables import Shown, Table, number, p_value

_BEST = ("task", "metric", "fraction", "may be the best")
_CROSSOVERS = ("task", "metric", "checkpoint", "equal from", "images", "better by the margin up to", "images there")
_PAIRS = ("task", "metric", "fraction", "first", "second", "difference", "simultaneous low", "simultaneous high", "p",
          "p corrected", "comparisons", "verdict", "reason")  # fmt: skip


def best_table(tasks: Sequence[TaskFindings]) -> Table:
    """The checkpoints that may be the best, at each fraction and of the mean over them, the leading one first."""
    rows = []
    for found in tasks:
        keys: list[float | None] = [*found.fractions, *([None] if len(found.fractions) > 1 else [])]
        for key in keys:
            name = Shown("mean", "") if key is None else f"{key:g}"
            rows.append([found.task, found.metric, name, ", ".join(found.best.get(key, ())) or "not enough data"])
    return Table("best", _BEST, rows, frozenset({"fraction"}))


def crossovers_table(tasks: Sequence[TaskFindings], estimates: Mapping[str, Estimate]) -> Table:
    """From which fraction on each checkpoint equals the baseline within the margin, and up to which it is better by
    more; `not reached` where that was found nowhere."""
    rows = []
    for found in tasks:
        images = {c.cell.fraction: str(e.n_images) for c in found.comparisons if (e := estimates.get(c.cell.key))}
        for name, crossing in found.crossovers.items():
            places = [None if i is None else found.fractions[i] for i in (crossing.equal_from, crossing.better_to)]
            words = [
                w
                for f in places
                for w in ((Shown("not reached", ""), "") if f is None else (percent(f), images.get(f, "")))
            ]
            rows.append([found.task, found.metric, name, *words])
    return Table("crossovers", _CROSSOVERS, rows, frozenset(_CROSSOVERS[3:]))


def pairs_table(tasks: Sequence[TaskFindings]) -> Table:
    """All pairs of checkpoints at each fraction, corrected over all pairs of the task."""
    rows = []
    for found in tasks:
        for pair in found.pairs:
            d, v = pair.difference, pair.verdict
            rows.append([
                found.task, found.metric, f"{pair.fraction:g}", pair.first, pair.second, number(d.value, sign=True),
                number(v.low, sign=True), number(v.high, sign=True), p_value(d.p), p_value(v.p_corrected), str(v.m),
                v.word, d.reason,
            ])  # fmt: skip
    words = {"task", "metric", "first", "second", "verdict", "reason"}
    return Table("pairs", _PAIRS, rows, frozenset(_PAIRS) - words)
