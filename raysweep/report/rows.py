"""Result rows of a study's cells, read from the folders of their repeats."""

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from raysweep.errors import RequestError
from raysweep.report.cells import CellRef, RepeatRef
from raysweep.tasks.card import METRICS
from raysweep.transfer.metrics import lacks_counts, per_class, score
from raysweep.transfer.schema import RESULT_SCHEMA


def read_rows(cells: Sequence[CellRef], asked: str | None) -> tuple[dict[str, pa.Table], list[CellRef]]:
    """Rows of RESULT_SCHEMA of every cell that has a finished repeat, by `CellRef.path`; and the cells.

    There is a row for each test set and each metric of the card, and for the metric that is `asked` for where it fits
    the kind of task: what a final did not count then is counted now, from its predictions. A repeat whose rows cannot
    be read counts as failed.
    Raises RequestError when predictions hold no counts for such a metric.
    """
    rows: dict[str, pa.Table] = {}
    known = []
    for cell in cells:
        wanted = list(dict.fromkeys([*cell.metrics, *([asked] if asked and fits(asked, cell.kind) else [])]))
        tables, repeats = [], []
        for repeat in cell.repeats:
            if repeat.status == "done":
                try:
                    tables.append(_rows_of(cell, repeat, wanted))
                except (OSError, KeyError, IndexError, pa.ArrowException) as error:
                    reason = f"its results cannot be read ({type(error).__name__})"
                    repeat = replace(repeat, status="failed", reason=reason)
            repeats.append(repeat)
        if tables:
            rows[cell.path] = pa.concat_tables(tables)
        known.append(replace(cell, repeats=tuple(repeats)))
    return rows, known


def fits(metric: str, kind: str) -> bool:
    """Whether a metric is one for this kind of task."""
    return metric in METRICS[kind]


def of_metric(rows: pa.Table, metric: str, test_set: str) -> pa.Table:
    """The rows of one metric on one test set, by repeat; those without a value too."""
    chosen = pc.and_(pc.equal(rows["metric"], metric), pc.equal(rows["test_set"], test_set))
    return rows.filter(chosen).sort_by("repeat")


def _rows_of(cell: CellRef, repeat: RepeatRef, metrics: list[str]) -> pa.Table:
    table = repeat.folder.read_table("final.parquet").select(RESULT_SCHEMA.names).cast(RESULT_SCHEMA)
    found = [row | {"checkpoint": cell.checkpoint} for row in table.to_pylist()]  # a point of a grid has its row's name
    if not found:
        raise IndexError("no rows")
    kept = [row for row in found if row["metric"] in metrics]
    for test_set in dict.fromkeys(row["test_set"] for row in found):
        own = [row for row in found if row["test_set"] == test_set]
        for metric in metrics:
            if all(row["metric"] != metric for row in own):
                counted = _counted(cell, repeat, own[0], metric)
                kept += [counted] if counted else []
    return pa.Table.from_pylist(kept, schema=RESULT_SCHEMA)


def _counted(cell: CellRef, repeat: RepeatRef, row: dict, metric: str) -> dict | None:
    """The row for another metric, from the same predictions; None for a metric of objects on a further test set whose
    masks number none.
    """
    row = row | {"metric": metric, "objects": ""}
    if row["predictions"]:
        predictions = repeat.folder.read_table(*row["predictions"].split("/"))
        if lacks_counts(predictions, metric, cell.kind):
            if row["test_set"] != cell.task:
                return None
            raise RequestError(
                f"metric {metric}: the predictions of {cell.name} hold no counts for it; list it under the metrics of "
                f"card {cell.task} and run the study again, or compare by another metric"
            )
        row |= {"value": score(predictions, metric, cell.kind), "per_class": per_class(predictions, cell.kind, metric)}
    return row
