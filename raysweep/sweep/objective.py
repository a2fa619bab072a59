"""What a search aims at: one number from the evaluations of a trial."""

import math
from collections.abc import Sequence
from typing import Any, Literal

from raysweep.transfer.spec import Select

Evaluation = dict[str, Any]  # step, train_loss, val_loss, val_metric


def direction(select: Select) -> Literal["maximize", "minimize"]:
    """Which way is better. Metrics of tasks are all better when larger; `last` is the last val metric."""
    return "minimize" if select == "val_loss" else "maximize"


def best_evaluation(evaluations: Sequence[Evaluation], select: Select) -> tuple[float, int] | None:
    """The value of a trial and the step whose weights it stands for; None when no value is a number.

    The same rule by which a run keeps its weights: equal metrics go to the lower val loss, then to the earlier.
    """
    if select == "last":
        evaluations = evaluations[-1:]
    key = "val_loss" if select == "val_loss" else "val_metric"
    finite = [e for e in evaluations if math.isfinite(e[key])]
    if not finite:
        return None
    if key == "val_loss":
        best = min(finite, key=lambda e: (e["val_loss"], e["step"]))
    else:
        best = min(finite, key=lambda e: (-e["val_metric"], _loss(e), e["step"]))
    return float(best[key]), int(best["step"])


def best_came_last(evaluations: Sequence[Evaluation], select: Select) -> bool:
    """Whether a training was at its best when it ended, so that more steps might have helped.

    Never where nothing was chosen among evaluations: with one, or with `last`.
    """
    if select == "last" or len(evaluations) < 2:
        return False
    best = best_evaluation(evaluations, select)
    return best is not None and best[1] == evaluations[-1]["step"]


def gain(value: float, select: Select) -> float:
    """The value on a scale where larger is better."""
    return -value if select == "val_loss" else value


def _loss(evaluation: Evaluation) -> float:
    loss = float(evaluation["val_loss"])
    return loss if math.isfinite(loss) else math.inf
