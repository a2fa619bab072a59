"""What frozen protocols chose on their paths: which settings, how, and whether the path was long enough."""

import json
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from raysweep.report.cells import CellRef, RepeatRef, percent
from raysweep.report.tables import Table, number

_HEADERS = ("checkpoint", "task", "protocol", "fraction", "path", "chosen", "at an end", "value", "how")
_COLUMNS = ["search", "params", "chosen_by", "edge", "evaluations"]


def paths_table(cells: Sequence[CellRef]) -> Table:
    """A row for each cell of a frozen protocol, over its finished repeats and their folds.

    path: from the strongest regularisation to the weakest. chosen: settings, and how often each was. at an end: how
    many choices were an end of the path with a worse neighbour. value: of what was chosen, in cross-validation.
    """
    lines = []
    for cell in cells:
        rows = [row for repeat in cell.repeats if repeat.status == "done" for row in _final(repeat)]
        chosen = [json.loads(params) for row in rows for params in row["params"] if params]
        if not chosen:
            continue
        counts = Counter(_words(params) for params in chosen)
        edges = sum(bool(edge) for row in rows for edge in row["edge"])
        scored = [e for row in rows for e in row["evaluations"] if e["setting"] == row["params"][e["fold"]]]
        values = [e["val_metric"] for e in scored]
        lines.append([
            cell.checkpoint, cell.task, cell.protocol, percent(cell.fraction), _path(rows),
            ", ".join(f"{words} ({n})" if len(chosen) > 1 else words for words, n in sorted(counts.items())),
            f"{edges} of {len(chosen)}", number(sum(values) / len(values), 3) if values else "",
            ", ".join(sorted({by for row in rows for by in row["chosen_by"] if by})),
        ])  # fmt: skip
    return Table("paths", _HEADERS, lines, frozenset({"fraction", "at an end", "value"}))


def _final(repeat: RepeatRef) -> list[dict]:
    """The first row of a repeat that chose on a path, as what was chosen is the same for every metric; else none."""
    try:
        table = repeat.folder.read_table("final.parquet").slice(0, 1)
        return [row for row in table.select(_COLUMNS).to_pylist() if row["search"] == "none"]
    except (OSError, KeyError, pa.ArrowException):
        return []


def _path(rows: Sequence[dict]) -> str:
    """Its two ends."""
    settings = [json.loads(e["setting"]) for row in rows for e in row["evaluations"][:1] + row["evaluations"][-1:]]
    return " … ".join(dict.fromkeys(_words(s) for s in settings)) if settings else ""


def _words(params: dict) -> str:
    return ", ".join(f"{key} {value:g}" for key, value in sorted(params.items()))
