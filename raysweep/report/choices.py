"""What was chosen among checkpoints before any test: which were screened out, which points of grids stand in tables."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from raysweep.report.cells import percent
from raysweep.report.tables import Table, number
from raysweep.storage import Storage

FILE = "choices.parquet"
_HEADERS = ("choice", "by", "task", "protocol", "fraction", "repeat", "member", "ranked on", "value", "rank",
            "mean rank", "chosen", "value is")  # fmt: skip
_NUMBERS = frozenset({"fraction", "repeat", "value", "rank", "mean rank"})
_FOLDED = (" The task is in folds: what one fold tests, others train on, so this choice has seen labels that are "
           "tested, and values of what it chose may be somewhat high.")  # fmt: skip
_NAMED = 12  # checkpoints of one kind that a sentence names


@dataclass(frozen=True)
class Choices:
    """All choices that are made: their rows as they were stored, the same as a table, a sentence for each task whose
    checkpoints were screened, and one for each grid of which points were chosen.
    """

    rows: pa.Table
    table: Table
    screened: list[str]
    chosen: list[str]


def read_choices(folders: Sequence[Storage]) -> Choices:
    """Read the choices in these folders, in their order."""
    tables = [folder.read_table(FILE) for folder in folders]
    rows = [table.to_pylist() for table in tables]
    lines = [
        [row["grid"] or "screen", row["rule"], row["task"], row["protocol"], percent(row["fraction"]),
         "all" if row["repeat"] is None else str(row["repeat"]), row["member"], row["ranked_on"],
         number(row["value"]), number(row["rank"], 1), number(row["mean_rank"], 2),
         "yes" if row["chosen"] else "", row["by"]]
        for own in rows for row in own
    ]  # fmt: skip
    grids: dict[str, list[list[dict[str, Any]]]] = {}
    for own in rows:
        if own[0]["grid"]:
            grids.setdefault(own[0]["grid"], []).append(own)
    return Choices(
        pa.concat_tables(tables) if tables else pa.table({}),
        Table("choices", _HEADERS, lines, _NUMBERS),
        [_screened(own) for own in rows if not own[0]["grid"]],
        [_chosen(grid, own) for grid, own in grids.items()],
    )


def _screened(rows: list[dict[str, Any]]) -> str:
    """`glas-grade: screened by linear at 100 % (...): a (0.91) and b (0.90) were searched beside the baseline ...`."""
    first = rows[0]
    kept = [row for row in rows if row["chosen"] and row["rank"] is not None]
    out = [row for row in rows if not row["chosen"]]
    base = [row for row in rows if row["rank"] is None]
    how = next((row["by"] for row in rows if row["value"] is not None), "")
    mean = f", mean of {first['n_repeats']} repeats" if first["n_repeats"] > 1 else ""
    said = f"{first['task']}: checkpoints were screened by {first['protocol']} at {percent(first['fraction'])} ({how}"
    said += f"{mean}), before any search or test and once for all repeats and fractions. Searched: {_series(kept)}"
    said += f", beside the baseline {_series(base)}" if base else ""
    said += f". Screened out: {_series(out)}." if out else ". Nobody was screened out."
    return said + (_FOLDED if first["n_folds"] > 1 else "")


def _series(rows: list[dict[str, Any]]) -> str:
    """`a (0.912), b (0.905) and 3 more`, the best first."""
    ordered = sorted(rows, key=lambda row: row["rank"] or 0.0)
    named = [f"{row['member']} ({number(row['value'], 3) or 'no value'})" for row in ordered[:_NAMED]]
    return ", ".join(named) + (f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else "")


def _chosen(grid: str, choices: list[list[dict[str, Any]]]) -> str:
    """What was chosen of one grid, over all its choices."""
    rule, names = choices[0][0]["rule"], list(dict.fromkeys(row["member"] for row in choices[0]))
    if rule == "own_val":
        how = "for each repeat of each cell the one with the best value on that repeat's own validation"
        rest = "Every point was searched under the full budget; only the chosen one's test is shown."
    elif rule == "rank_others":
        how = ("for each task, protocol and fraction the one with the best average rank on the other tasks, without "
               "the task itself and those related to it (Mormont et al. 2020)")  # fmt: skip
        rest = "One choice serves all repeats: no interval covers another choice."
    else:
        how = f"for each task the one that {choices[0][0]['protocol']} found best by cross-validation"
        rest = "One choice serves all repeats and fractions, and no other point was searched."
    counts = Counter(name for rows in choices for name in {row["member"] for row in rows if row["chosen"]})
    found = ", ".join(f"{name} ({counts[name]})" for name in names if counts[name])
    folded = any(row["n_folds"] > 1 and row["ranked_on"] == row["task"] for rows in choices for row in rows)
    said = f"{grid}: of the {len(names)} points of its grid, {how}: {found} of {len(choices)}. {rest}"
    return said + (_FOLDED if folded else "")
