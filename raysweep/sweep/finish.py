"""The tables of a finished repeat, made from its journals and prediction files."""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from raysweep.commit import commit
from raysweep.sweep.cell import Cell, Repeat
from raysweep.sweep.edge import at_edge
from raysweep.sweep.history import TrialRecord
from raysweep.sweep.lane import PARTS, Lane, mask_part
from raysweep.sweep.objective import best_came_last
from raysweep.tasks.card import OBJECT_METRICS, Card
from raysweep.transfer.metrics import lacks_counts, per_class, score
from raysweep.transfer.schema import RESULT_SCHEMA, predictions_schema
from raysweep.transfer.spec import Select, TransferSpec
from raysweep.versions import versions

_NUMBERS = [
    ("step", pa.int32()),
    ("train_loss", pa.float64()),
    ("val_loss", pa.float64()),
    ("val_metric", pa.float64()),
    ("micro_batch", pa.int32()),  # images at a time, where memory ran out; else null
]

TRIAL_SCHEMA = pa.schema(
    [
        ("fold", pa.int32()),
        ("number", pa.int32()),
        ("params", pa.string()),  # JSON
        ("at_edge", pa.list_(pa.string())),  # those of its settings that lie at an end of their range
        ("status", pa.string()),  # done | pruned | failed
        ("reason", pa.string()),  # of a failure
        ("value", pa.float64()),  # what the search aims at; of a pruned trial, when it was stopped
        ("select", pa.string()),  # what that is: val_metric | val_loss | last
        ("step", pa.int32()),  # of the evaluation that gave the value
        ("best_last", pa.bool_()),  # it was the last one: more steps might help
        ("evaluations", pa.list_(pa.struct(_NUMBERS))),
        ("trial_seconds", pa.float64()),  # device-seconds, repeated attempts included
    ]
)
_PLACES = [("fold", pa.int32()), ("setting", pa.string())]  # JSON; of a frozen protocol, whose steps are a path's
FINAL_SCHEMA = pa.schema(
    [
        *RESULT_SCHEMA,
        ("chosen_by", pa.list_(pa.string())),  # one per fold: how a frozen protocol chose its setting
        ("edge", pa.list_(pa.string())),  # one per fold: the setting whose best value is at an end of its path, or ""
        ("evaluations", pa.list_(pa.struct([*_PLACES, *_NUMBERS]))),
        ("best_last", pa.bool_()),  # in every fold the best evaluation was the last: more steps might help
    ]
)


def finish_repeat(
    cell: Cell, repeat: Repeat, lanes: Sequence[Lane], card: Card, transfer: TransferSpec, *, study: str
) -> None:
    """Write trials.parquet, final.parquet, predictions/ and masks/, and commit the repeat. All its lanes are done.

    masks/ holds what finals of repeat 0 kept of their predicted masks: all that a report needs to draw some.

    A repeat whose final failed in a fold, or that found no setting to train, has rows without a value and the reason.
    Raises OSError or WorkError when a prediction file cannot be read or a table cannot be written.
    """
    folder = repeat.artefact.folder
    trials = [(lane.fold, lane.select, t) for lane in lanes for t in lane.history.told()]
    finals = [lane.history.final for lane in lanes]
    search_seconds = sum(t.seconds for _, _, t in trials)
    train_seconds = sum(final.seconds for final in finals if final)
    failures = [f"fold {lane.fold}: {why}" if len(lanes) > 1 else why for lane in lanes if (why := lane.failure())]
    tested: dict[str, pa.Table | None] = dict.fromkeys([cell.task, *cell.test_sets])
    metrics = dict.fromkeys(tested, card.metrics)
    for test_set in [] if failures else tested:
        files = [f.predictions if test_set == cell.task else f.further[test_set] for f in finals if f]
        parts = [folder.read_table(*file.split("/")) for file in files]
        if test_set != cell.task:  # its masks may number no objects, see `tested_like`
            metrics[test_set] = [m for m in card.metrics if not lacks_counts(parts[0], m, cell.kind)]
        schema = predictions_schema(cell.kind, metrics[test_set])
        tested[test_set] = pa.concat_tables([part.select(schema.names).cast(schema) for part in parts])
        folder.write_table(tested[test_set], "predictions", f"{test_set}.parquet")
    kept = [] if failures else [part for lane in lanes if folder.exists(*(part := mask_part(cell.task, lane.fold)))]
    if kept:
        masks = pa.concat_tables([folder.read_table(*part) for part in kept])
        folder.write_table(masks, "masks", f"{cell.task}.parquet")
    common = {
        "study": study,
        "reason": failures[0] if failures else "",
        "search_seconds": search_seconds,
        "train_seconds": train_seconds,
        "versions": json.dumps({**versions(), **commit()}, sort_keys=True),
        "chosen_by": [f.chosen_by if f else "" for f in finals],
        "edge": [f.edge if f else "" for f in finals],
        "evaluations": [{"fold": lane.fold, **e} for lane, f in zip(lanes, finals, strict=True) if f
                        for e in f.evaluations],
        "best_last": all(f is not None and best_came_last(f.evaluations, lane.select)
                         for lane, f in zip(lanes, finals, strict=True)),
    }  # fmt: skip
    rows = [common | _result(cell, repeat, lanes, card, transfer, metric, test_set, predictions)
            for test_set, predictions in tested.items() for metric in metrics[test_set]]  # fmt: skip
    folder.write_table(pa.Table.from_pylist([_trial(cell, *t) for t in trials], TRIAL_SCHEMA), "trials.parquet")
    folder.write_table(pa.Table.from_pylist(rows, FINAL_SCHEMA), "final.parquet")
    statuses = [t.status for _, _, t in trials]
    best = [b.value for lane in lanes if (b := lane.best()) is not None and b.value is not None]
    repeat.artefact.commit(
        config={"checkpoint": cell.checkpoint, "task": cell.task, "protocol": cell.protocol, "kind": cell.kind,
                "fraction": cell.fraction, "repeat": repeat.number, "pretraining_seed": repeat.pretraining_seed,
                "space": cell.space, "decoder": cell.decoder, "transfer": transfer},
        counts={"folds": len(lanes), "trials": len(trials), "failed_finals": len(failures),
                **{status: statuses.count(status) for status in ("done", "pruned", "failed")},
                "best": sum(best) / len(best) if best else None, "select": lanes[0].select},
        timings={"search_seconds": search_seconds, "train_seconds": train_seconds},
    )  # fmt: skip
    folder.remove(PARTS)


def _trial(cell: Cell, fold: int, select: Select, trial: TrialRecord) -> dict[str, Any]:
    return {
        "fold": fold,
        "number": trial.number,
        "params": json.dumps(trial.params, sort_keys=True),
        "at_edge": at_edge(cell.protocol, cell.kind, cell.space, trial.params),
        "status": trial.status,
        "reason": trial.reason,
        "value": trial.value,
        "select": select,
        "step": trial.step,
        "best_last": best_came_last(trial.evaluations, select),
        "evaluations": trial.evaluations,
        "trial_seconds": trial.seconds,
    }


def _result(
    cell: Cell, repeat: Repeat, lanes: Sequence[Lane], card: Card, transfer: TransferSpec, metric: str, test_set: str,
    predictions: pa.Table | None,
) -> dict[str, Any]:  # fmt: skip
    """One row: the test samples of all folds together; of a further test set, the mean over the models of the folds."""
    finals = [lane.history.final for lane in lanes]

    def mean(size: str) -> int:
        return round(sum(getattr(lane.sizes, size) for lane in lanes) / len(lanes))

    return {
        "checkpoint": cell.checkpoint,
        "pretraining_seed": repeat.pretraining_seed,
        "task": cell.task,
        "kind": cell.kind,
        "test_set": test_set,
        "n_folds": len(lanes),
        "protocol": cell.protocol,
        "fraction": cell.fraction,
        "repeat": repeat.number,
        "search": "none" if cell.frozen else transfer.search,
        **{size: mean(size) for size in ("n_images", "n_units", "n_val_images", "n_val_units")},
        "n_test_images": None if predictions is None else len(predictions["sample"].unique()),
        "n_test_units": None if predictions is None else len(predictions["unit"].unique()),
        "params": [json.dumps(f.params, sort_keys=True) if f else "" for f in finals],
        "at_edge": sorted(
            {
                n
                for f in finals
                if f
                for n in (at_edge(cell.protocol, cell.kind, cell.space, f.params) or filter(None, [f.edge]))
            }
        ),
        "metric": metric,
        "value": None if predictions is None else score(predictions, metric, cell.kind),
        "objects": card.objects.name if metric in OBJECT_METRICS else "",
        "classes": card.classes,
        "per_class": None if predictions is None else per_class(predictions, cell.kind, metric),
        "predictions": "" if predictions is None else f"predictions/{test_set}.parquet",
        "folder": "/".join(repeat.artefact.folder.root.split("/")[-7:]),  # cells/<...>/<fp8>/<repeat>
    }
