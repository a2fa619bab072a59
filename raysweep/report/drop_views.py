"""The table of what checkpoints lose on further test sets."""

from collections.abc import Sequence

from raysweep.report.cells import percent
from raysweep.report.drop import Drop
from raysweep.report.tables import Shown, Table, number

_HEADERS = ("task", "test set", "protocol", "fraction", "checkpoint", "metric", "own value", "value there",
            "relative drop", "low", "high", "reason", "seen")  # fmt: skip


def drops_table(drops: Sequence[Drop]) -> Table:
    """A row per cell and further test set; all of it exploratory."""
    rows = []
    for d in drops:
        seen = next((s.word for s in d.cell.seen if s.test_set == d.cell.tested_on), "")
        rows.append([
            d.cell.task, d.cell.tested_on, d.cell.protocol, percent(d.cell.fraction), d.cell.checkpoint, d.metric,
            number(d.own, 3), number(d.there, 3), *(_percent(x) for x in (d.value, d.low, d.high)), d.reason, seen,
        ])  # fmt: skip
    words = {"task", "test set", "protocol", "checkpoint", "metric", "reason", "seen"}
    return Table("drops", _HEADERS, rows, frozenset(_HEADERS) - words)


def _percent(part: float | None) -> str:
    if part is None:
        return ""
    return Shown("undefined", "") if part != part else Shown(f"{100 * part:.1f} %".replace("-", "−"), f"{part:.10g}")
