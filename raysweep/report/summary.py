"""The short result table that the command line prints, read from the report's own tables."""

import csv
import io
from collections.abc import Sequence

from raysweep.report.cells import percent
from raysweep.report.seen import legend
from raysweep.storage import Storage

_FIXED = ("task", "test set", "protocol", "metric", "checkpoint")
_KEY = ("task", "test set", "protocol", "checkpoint")


def summary_rows(folder: Storage) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of the main table: values with intervals by fraction, then the verdicts.

    folder: the study's. The last column names the baseline; it has the verdict of every fraction: `better (10 %, 50 %),
    undecided (100 %)`, the word alone where it is the same everywhere. Headers and rows are empty when there is no
    report yet.
    """
    if not folder.exists("report", "tables", "main.csv"):
        return [], []
    main, differences = _read(folder, "main"), _read(folder, "differences")
    fixed = [name for name in _FIXED if not main or name in main[0]]  # the test set where there are further ones
    fractions = [name for name in main[0] if name not in _FIXED] if main else []
    verdicts: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for row in differences:
        if row["verdict"] and row["fraction"]:  # empty: the mean over them
            words = verdicts.setdefault(tuple(row[name] for name in _KEY), {})
            words.setdefault(row["verdict"], []).append(percent(float(row["fraction"])))
    baseline = differences[0]["baseline"] if differences else ""
    header = [*fixed, *fractions] + ([f"against {baseline}"] if baseline else [])
    rows = []
    for row in main:
        own = [row[name] for name in (*fixed, *fractions)]
        if baseline:
            key = tuple(row.get(name, row["task"]) for name in _KEY)
            own.append("baseline" if row["checkpoint"] == baseline else _words(verdicts.get(key, {})))
        rows.append(own)
    return header, rows


def summary_legend(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """What the marks beside the values of `summary_rows` mean: a line for each that occurs."""
    values = [text for row in rows for name, text in zip(header, row, strict=True) if name not in _FIXED]
    return legend("".join(values))


def _words(found: dict[str, list[str]]) -> str:
    if len(found) < 2:
        return next(iter(found), "")
    return ", ".join(f"{word} ({', '.join(at)})" for word, at in found.items())


def _read(folder: Storage, name: str) -> list[dict[str, str]]:
    text = folder.read_bytes("report", "tables", f"{name}.csv").decode()
    return list(csv.DictReader(io.StringIO(text)))
