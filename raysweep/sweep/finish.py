"""The tables of a finished cell, made from its journals and prediction files."""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from raysweep.storage import versions
from raysweep.sweep.cell import Cell
from raysweep.sweep.history import FinalRecord, TrialRecord
from raysweep.sweep.lane import Lane
from raysweep.tasks.card import Card
from raysweep.transfer.metrics import per_class, score
from raysweep.transfer.schema import RESULT_SCHEMA, predictions_schema
from raysweep.transfer.spec import TransferSpec

_EVALUATION = pa.struct(
    [("step", pa.int32()), ("train_loss", pa.float64()), ("val_loss", pa.float64()), ("val_metric", pa.float64())]
)

TRIAL_SCHEMA = pa.schema(
    [
        ("fold", pa.int32()),
        ("number", pa.int32()),
        ("params", pa.string()),  # JSON
        ("status", pa.string()),  # done | pruned | failed
        ("reason", pa.string()),  # of a failure
        ("value", pa.float64()),  # what the search aims at; of a pruned trial, when it was stopped
        ("step", pa.int32()),  # of the evaluation that gave the value
        ("evaluations", pa.list_(_EVALUATION)),
        ("trial_seconds", pa.float64()),  # device-seconds, repeated attempts included
    ]
)


def finish_cell(cell: Cell, lanes: Sequence[Lane], card: Card, transfer: TransferSpec, *, study: str) -> None:
    """Write trials.parquet and finals.parquet and commit the cell. All its lanes are done.

    Raises OSError or WorkError when a prediction file cannot be read or a table cannot be written.
    """
    folder = cell.artefact.folder
    trials = [(lane.fold, t) for lane in lanes for t in lane.history.told()]
    search_seconds = sum(t.seconds for _, t in trials)
    common = {"study": study, "search_seconds": search_seconds, "versions": json.dumps(versions(), sort_keys=True)}
    rows = [common | _result(cell, lanes, card, seed) for seed in range(transfer.finals)]
    folder.write_table(pa.Table.from_pylist([_trial(fold, t) for fold, t in trials], TRIAL_SCHEMA), "trials.parquet")
    folder.write_table(pa.Table.from_pylist(rows, RESULT_SCHEMA), "finals.parquet")
    statuses = [t.status for _, t in trials]
    cell.artefact.commit(
        config={"checkpoint": cell.checkpoint, "task": cell.task, "protocol": cell.protocol, "kind": cell.kind,
                "fraction": cell.fraction, "transfer": transfer},
        counts={"folds": len(lanes), "trials": len(trials), "finals": len(rows) * len(lanes),
                **{status: statuses.count(status) for status in ("done", "pruned", "failed")}},
        timings={"search_seconds": search_seconds, "train_seconds": sum(row["train_seconds"] for row in rows)},
    )  # fmt: skip


def _trial(fold: int, trial: TrialRecord) -> dict[str, Any]:
    return {
        "fold": fold,
        "number": trial.number,
        "params": json.dumps(trial.params, sort_keys=True),
        "status": trial.status,
        "reason": trial.reason,
        "value": trial.value,
        "step": trial.step,
        "evaluations": trial.evaluations,
        "trial_seconds": trial.seconds,
    }


def _result(cell: Cell, lanes: Sequence[Lane], card: Card, seed: int) -> dict[str, Any]:
    """One row: the test samples of all folds, pooled."""
    finals: list[FinalRecord] = [lane.history.finals[seed] for lane in lanes]
    folder = cell.artefact.folder
    tables = [folder.read_table(*final.predictions.split("/")) for final in finals]
    predictions = pa.concat_tables([t.cast(predictions_schema(cell.kind)) for t in tables])
    units = predictions["unit"].unique()
    return {
        "checkpoint": cell.checkpoint,
        "pretraining_seed": seed % len(cell.checkpoints),
        "task": cell.task,
        "kind": cell.kind,
        "test_set": cell.task,
        "protocol": cell.protocol,
        "fraction": cell.fraction,
        "n_images": round(sum(f.n_images for f in finals) / len(finals)),
        "n_units": round(sum(f.n_units for f in finals) / len(finals)),
        "n_test_images": predictions.num_rows,
        "n_test_units": len(units),
        "draw": seed,
        "seed": seed,
        "params": [json.dumps(f.params, sort_keys=True) for f in finals],
        "metric": card.metric,
        "value": score(predictions, card.metric, cell.kind),
        "classes": card.classes,
        "per_class": per_class(predictions, cell.kind, card.metric),
        "predictions": [f.predictions for f in finals],
        "cell": "/".join(folder.root.split("/")[-6:]),  # cells/<checkpoint>/<task>/<protocol>/<fraction>/<fp8>
        "train_seconds": sum(f.seconds for f in finals),
    }
