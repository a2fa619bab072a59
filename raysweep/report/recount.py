"""Result rows whose numbers are counted once more from the prediction files."""

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from raysweep.errors import RequestError, WorkError
from raysweep.report.cells import CellRef, RepeatRef
from raysweep.report.rows import read_rows
from raysweep.transfer.metrics import per_class, score
from raysweep.transfer.schema import RESULT_SCHEMA

_CLOSE = {"rel_tol": 1e-9, "abs_tol": 1e-12}  # other machines add in another order
_COUNTED = ("value", "n_test_images", "n_test_units", "per_class")


class DamagedError(WorkError):
    """Files that a report rests on are missing or cannot be read: a line for each."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = list(lines)


class Recount:
    """Stands in for `read_rows`: values, those of classes and counts of test images and units are the predictions'.

    differences: a line for each of these numbers of a final.parquet that its predictions do not give. n_files: of
    predictions that were read. n_numbers: that were counted.
    """

    def __init__(self) -> None:
        self.differences: list[str] = []
        self.n_files = 0
        self.n_numbers = 0
        self._damaged: list[str] = []

    def rows(self, cells: Sequence[CellRef], asked: str | None) -> tuple[dict[str, pa.Table], list[CellRef]]:
        """As `read_rows`. Raises DamagedError when files of finished repeats are missing or cannot be read."""
        counted = {(cell.path, repeat.number): self._repeat(cell, repeat)
                   for cell in cells for repeat in cell.repeats if repeat.status == "done"}  # fmt: skip
        if self._damaged:
            raise DamagedError(self._damaged)
        rows, known = read_rows(cells, asked)
        for path, table in rows.items():
            own = [
                row | counted.get((path, row["repeat"]), {}).get((row["test_set"], row["metric"]), {})
                for row in table.to_pylist()
            ]
            rows[path] = pa.Table.from_pylist(own, schema=RESULT_SCHEMA)
        return rows, known

    def _repeat(self, cell: CellRef, repeat: RepeatRef) -> dict[tuple[str, str], dict[str, Any]]:
        """What is counted of one repeat, by test set and metric."""
        file = f"{repeat.path}/final.parquet"
        try:
            found = repeat.folder.read_table("final.parquet").select(RESULT_SCHEMA.names).cast(RESULT_SCHEMA)
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            self._damaged.append(_damage(file, error))
            return {}
        rows = found.to_pylist()
        out: dict[tuple[str, str], dict[str, Any]] = {}
        for name in dict.fromkeys(row["predictions"] for row in rows if row["predictions"]):
            own = [row for row in rows if row["predictions"] == name]
            try:
                table = repeat.folder.read_table(*name.split("/"))
                counts = [_count(table, row["metric"], cell.kind) for row in own]
            except (OSError, KeyError, ValueError, RequestError, WorkError, pa.ArrowException) as error:
                self._damaged.append(_damage(f"{repeat.path}/{name}", error))
                continue
            self.n_files += 1
            for row, counted in zip(own, counts, strict=True):
                out[row["test_set"], row["metric"]] = counted
                self._compare(file, row, counted)
        for row in rows:
            if not row["predictions"] and row["value"] is not None:
                self._compare(file, row, dict.fromkeys(_COUNTED))
                out[row["test_set"], row["metric"]] = dict.fromkeys(_COUNTED)
        return out

    def _compare(self, file: str, row: dict[str, Any], counted: dict[str, Any]) -> None:
        for name, value in counted.items():
            self.n_numbers += len(value) if isinstance(value, list) else 1
            if not close(row[name], value):
                self.differences.append(
                    f"{file}, row {row['metric']} on {row['test_set']}, column {name}: {said(row[name])} is written, "
                    f"{said(value)} recomputed from {row['predictions'] or 'no predictions'}"
                )


def close(a: Any, b: Any) -> bool:
    """Whether two values of a table are the same, numbers to rounding."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(close, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, **_CLOSE) or (math.isnan(a) and math.isnan(b))
    return bool(a == b)


def said(value: Any) -> str:
    """A value of a table as a line of text names it."""
    if isinstance(value, list):
        return f"[{', '.join(map(said, value))}]"
    return "nothing" if value is None or value == "" else f"{value:.10g}" if isinstance(value, float) else str(value)


def _count(table: pa.Table, metric: str, kind: str) -> dict[str, Any]:
    return {
        "value": score(table, metric, kind),
        "n_test_images": len(table["sample"].unique()),
        "n_test_units": len(table["unit"].unique()),
        "per_class": per_class(table, kind, metric),
    }


def _damage(file: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{file}: is missing"
    reason = str(error) if isinstance(error, RequestError | WorkError) else type(error).__name__
    return f"{file}: cannot be read ({reason})"
