"""What the search cost: trials, how they ended, and device time, for each cell."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from raysweep.report.cells import CellRef, percent
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


def read_costs(cells: Sequence[CellRef], finals: Mapping[str, pa.Table]) -> Costs:
    """Trials of every cell that has a trial table. Device time is summed over trials, whatever ran side by side."""
    rows, reasons = [], Counter[str]()
    sums = [0.0] * 6
    for cell in cells:
        own = finals.get(cell.path)
        try:
            trials = cell.folder.read_table("trials.parquet", columns=["status", "reason", "trial_seconds"])
        except (OSError, KeyError, pa.ArrowException):
            continue
        ends = Counter(trials["status"].to_pylist())
        reasons.update(
            reason or "no reason given"
            for status, reason in zip(trials["status"].to_pylist(), trials["reason"].to_pylist(), strict=True)
            if status == "failed"
        )
        search = float(sum(trials["trial_seconds"].drop_null().to_pylist())) / 60
        runs = own["train_seconds"].drop_null().to_pylist() if own is not None else []
        values = [trials.num_rows, ends["pruned"], ends["failed"], search, len(runs), float(sum(runs)) / 60]
        sums = [a + b for a, b in zip(sums, values, strict=True)]
        rows.append([cell.checkpoint, cell.task, cell.protocol, percent(cell.fraction), *_words(values)])
    table = Table("search", _HEADERS, rows, frozenset(_HEADERS[3:]))
    return Costs(table, _words(sums), reasons.most_common(_REASONS))


def _words(values: Sequence[float]) -> list[str]:
    return [f"{v:.1f}" if i in (3, 5) else f"{int(v)}" for i, v in enumerate(values)]
