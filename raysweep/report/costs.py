"""What the search cost: trials, how they ended, and device time, for each cell."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from raysweep.report.cells import CellRef, RepeatRef, percent
from raysweep.report.tables import Table

_HEADERS = ("checkpoint", "task", "protocol", "fraction", "trials", "pruned", "failed", "search min", "finals",
            "finals min")  # fmt: skip
_REASONS = 10  # reasons of failed trials listed on the page


@dataclass(frozen=True)
class Costs:
    """A table with a row per searched cell, its totals, and why trials failed (reason, how many)."""

    table: Table
    totals: list[str]
    failures: list[tuple[str, int]]


def read_costs(cells: Sequence[CellRef], rows: Mapping[str, pa.Table]) -> Costs:
    """Trials of every cell that has results. Device time is summed over trials, whatever ran side by side."""
    lines, reasons = [], Counter[str]()
    sums = [0.0] * 6
    for cell in cells:
        if cell.path not in rows:
            continue
        trials = [t for repeat in cell.repeats if repeat.status == "done" for t in _trials(repeat)]
        ends = Counter(t["status"] for t in trials)
        reasons.update(t["reason"] or "no reason given" for t in trials if t["status"] == "failed")
        search = sum(t["trial_seconds"] or 0.0 for t in trials) / 60
        finals = {row["repeat"]: row["train_seconds"] or 0.0 for row in rows[cell.path].to_pylist()}
        values = [len(trials), ends["pruned"], ends["failed"], search, len(finals), sum(finals.values()) / 60]
        sums = [a + b for a, b in zip(sums, values, strict=True)]
        words = _words(values)
        if not trials:  # a frozen protocol's
            words[:4] = ["no trials", "", "", ""]
        lines.append([cell.checkpoint, cell.task, cell.protocol, percent(cell.fraction), *words])
    table = Table("search", _HEADERS, lines, frozenset(_HEADERS[3:]))
    return Costs(table, _words(sums), reasons.most_common(_REASONS))


def _trials(repeat: RepeatRef) -> list[dict]:
    try:
        return repeat.folder.read_table("trials.parquet", columns=["status", "reason", "trial_seconds"]).to_pylist()
    except (OSError, KeyError, pa.ArrowException):
        return []


def _words(values: Sequence[float]) -> list[str]:
    return [f"{v:.1f}" if i in (3, 5) else f"{int(v)}" for i, v in enumerate(values)]
