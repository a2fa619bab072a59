"""What a repeat's own labels say of its checkpoint, before any test: the value that choices between checkpoints use."""

import math
from dataclasses import dataclass
from statistics import fmean

from raysweep.sweep.cell import Cell, Repeat
from raysweep.sweep.history import History
from raysweep.sweep.journal import Journal
from raysweep.sweep.objective import gain


@dataclass(frozen=True)
class Validation:
    """`value`: the mean over folds of what each fold's search or cross-validation found best; larger is better, so a
    val loss has a minus before it; None where a fold has none. `by`: what it is, in words, such as `val_metric` or
    `cross-validation by patient, 5 folds`; where there is no value, why.
    """

    value: float | None
    by: str
    n_folds: int


def validation_of(cell: Cell, repeat: Repeat) -> Validation | None:
    """The value of a repeat; None until every fold's search has ended, or the frozen protocol has been fitted.

    It is read from what precedes the final: the trials on the val part of the draw, or the cross-validation inside the
    draw of a frozen protocol. No label that the fold tests is in it; what other folds test is. With `search: once` only
    repeat 0 has one. Raises WorkError when a journal is damaged.
    """
    return _cross_validated(repeat) if cell.frozen else _searched(repeat)


def _searched(repeat: Repeat) -> Validation | None:
    folder = repeat.artefact.folder.at("journal")
    first = History(Journal(folder, "fold0").read())
    if not first.opened:
        return None
    others = [History(Journal(folder, f"fold{i}").read()) for i in range(1, first.opened["folds"])]
    values, by = [], []
    for history in (first, *others):
        if not history.opened or history.n_told < history.opened["trials"]:
            return None
        select = history.opened["select"]
        found = [gain(t.value, select) for t in history.told() if t.status == "done" and t.value is not None]
        if not found:
            reason = next((t.reason for t in history.told() if t.reason), "no trial ran to its end")
            return Validation(None, f"all {history.n_told} trials failed; the first: {reason}", 1 + len(others))
        values.append(max(found))
        by.append("minus val_loss" if select == "val_loss" else "val_metric")
    return Validation(fmean(values), " and ".join(sorted(set(by))), len(values))


def _cross_validated(repeat: Repeat) -> Validation | None:
    if not repeat.artefact.done():
        return None
    row = repeat.artefact.folder.read_table(
        "final.parquet", columns=["n_folds", "reason", "chosen_by", "evaluations"]
    ).to_pylist()[0]
    by = ", ".join(sorted(filter(None, set(row["chosen_by"]))))
    values = []
    for fold in range(row["n_folds"]):
        found = [e["val_metric"] for e in row["evaluations"] if e["fold"] == fold and math.isfinite(e["val_metric"])]
        if not found:
            return Validation(None, row["reason"] or by, row["n_folds"])
        values.append(max(found))
    return Validation(fmean(values), by, row["n_folds"])
