"""A cell's prediction files turned into a metric on all units and without each unit."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysweep.errors import WorkError
from raysweep.randomness import stable_hash
from raysweep.report.cells import CellRef
from raysweep.report.enough import lacks_data
from raysweep.report.intervals import Scores
from raysweep.transfer.metrics import get_metric, lacks_counts, score_groups
from raysweep.transfer.metrics.rows import Rows
from raysweep.transfer.schema import predictions_schema

MOST_BLOCKS = 1000  # more units are dealt to this many blocks, which are left out whole


def read_scores(cell: CellRef, finals: pa.Table, metric: str) -> Scores:
    """What intervals of a cell are made from.

    finals: the cell's rows of RESULT_SCHEMA for the metric, one for each repeat that has a value.
    Raises WorkError when prediction files are missing, are not what they should be, or disagree about the units.
    """
    rows = by_repeat(finals)
    return scores_of(cell, rows, read_predictions(cell, rows, metric), metric)


def by_repeat(finals: pa.Table) -> list[dict[str, Any]]:
    """Rows of finals in the order of their repeats."""
    return sorted(finals.to_pylist(), key=lambda row: row["repeat"])


def read_predictions(cell: CellRef, rows: Sequence[Mapping[str, Any]], metric: str) -> list[pa.Table]:
    """The predictions of each final (`by_repeat`), all folds in one table; WorkError as `read_scores`."""
    return [_predictions(cell, row["repeat"], row["predictions"], metric) for row in rows]


def scores_of(
    cell: CellRef, rows: Sequence[Mapping[str, Any]], tables: Sequence[pa.Table], metric: str
) -> Scores:  # fmt: skip
    """The metric of each final, from its predictions or a part of them, at least one row.

    Units above MOST_BLOCKS are dealt to equal blocks by a stable hash (the delete-a-group jackknife: Kott, J. Off.
    Stat. 17, 2001). Raises WorkError when finals were tested on different units.
    """
    names = [pc.unique(table["unit"]).sort() for table in tables]
    if any(not names[0].equals(other) for other in names[1:]):
        raise WorkError("its finals were tested on different units")
    units = tuple(names[0].to_pylist())
    blocks = _blocks(units)
    n_blocks = int(blocks.max()) + 1
    weights = np.concatenate([np.ones((1, n_blocks)), 1 - np.eye(n_blocks)])  # (1 + U, U)
    groups = [blocks[pc.index_in(table["unit"], value_set=names[0]).to_numpy()] for table in tables]
    matrix = np.stack([score_groups(table, metric, cell.kind, of_row, weights)
                       for table, of_row in zip(tables, groups, strict=True)])  # fmt: skip
    measure = get_metric(metric, cell.kind)
    return Scores(
        values=matrix[:, 0],
        without=matrix[:, 1:],
        repeats=tuple(int(row["repeat"]) for row in rows),
        pretrainings=tuple(int(row["pretraining_seed"]) for row in rows),
        units=units,
        unit=cell.unit or _unit(tables[0]),
        bounds=measure.bounds,
        train_units=float(np.mean([row["n_units"] for row in rows])),
        lack=lacks_data(Rows(tables[0]), measure, groups[0], rows[0]["classes"] or ()),
    )


def _predictions(cell: CellRef, repeat: int, file: str, metric: str) -> pa.Table:
    """The rows of all folds of one final."""
    folder = next(r.folder for r in cell.repeats if r.number == repeat)
    try:
        table = folder.read_table(*file.split("/"))
        if lacks_counts(table, metric, cell.kind):
            raise WorkError(f"predictions of repeat {repeat} hold no counts for the metric {metric}")
        table = table.select(predictions_schema(cell.kind, [metric]).names)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise WorkError(f"predictions of repeat {repeat} cannot be read ({type(error).__name__})") from error
    if not table.num_rows:
        raise WorkError("its finals have no predictions")
    return table


def _blocks(units: tuple[str, ...]) -> np.ndarray:
    """Block of each unit (U,): its own, or one of MOST_BLOCKS of equal size."""
    return np.arange(len(units)) if len(units) <= MOST_BLOCKS else _dealt(units, MOST_BLOCKS)


@lru_cache(maxsize=8)  # many cells are tested on the same units
def _dealt(units: tuple[str, ...], most: int) -> np.ndarray:
    order = sorted(range(len(units)), key=lambda i: (stable_hash("block", units[i]), units[i]))
    blocks = np.empty(len(units), dtype=np.int64)
    blocks[order] = np.arange(len(units)) % most
    blocks.flags.writeable = False
    return blocks


def _unit(table: pa.Table) -> str:
    return "image" if table["unit"].equals(table["sample"]) else "unit"
