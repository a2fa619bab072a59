"""Every metric, from prediction tables, for all rows or for many resamples of them at once. No torch.

Ratios are defined here and nowhere else. Counts are weighted by per-row multiplicities, so a resample of units is a
row of `weights` and 2000 of them are one matrix product. A value is nan where it is undefined:

- accuracy: right samples / samples. nan without samples.
- balanced_accuracy: mean recall over the classes that have a sample (as scikit-learn's).
- macro_f1: mean of 2 TP / (2 TP + FP + FN) over the classes that are a label or a prediction of some sample.
- auroc: two classes: of the last class's score; more: mean over the classes that have both samples and others, each
  against the rest. Equal scores count half (Mann-Whitney). It ranks samples, and scores of different models have no
  common scale: computed within each fold, then the mean over the folds where it is defined. nan where none is.
- dice, iou: pixel counts of all foreground classes (all but class 0) summed over the samples, then 2 TP / (2 TP + FP
  + FN) and TP / (TP + FP + FN). nan when no foreground pixel is labelled or predicted.
- macro_dice, macro_iou: the same per foreground class, then the mean over those that are labelled or predicted.
"""

import numpy as np
import pyarrow as pa

from raysweep.errors import RequestError
from raysweep.tasks.card import CLASSIFICATION_METRICS, SEGMENTATION_METRICS

_CHUNK = 2**22  # weights handled at once by auroc: bounds its memory


def score(predictions: pa.Table, metric: str, kind: str, weights: np.ndarray | None = None) -> float:
    """The metric over the rows of a table of `predictions_schema(kind)`.

    weights: (n_rows,) how often each row counts, integers; once when not given.
    Raises RequestError when a task of this kind has no such metric.
    """
    counts = np.ones(predictions.num_rows) if weights is None else np.asarray(weights)
    return float(score_many(predictions, metric, kind, counts[None])[0])


def score_many(predictions: pa.Table, metric: str, kind: str, weights: np.ndarray) -> np.ndarray:
    """The metric under each of B rows of weights (B, n_rows): float64 (B,). Otherwise as `score`."""
    _check(metric, kind)
    weights = np.asarray(weights, dtype=np.float64)
    if predictions.num_rows == 0:
        return np.full(len(weights), np.nan)
    if kind == "segmentation":
        tp, fp, fn = (weights @ _matrix(predictions, name)[:, 1:] for name in ("tp", "fp", "fn"))
        ratio = _dice if metric.endswith("dice") else _iou
        if metric.startswith("macro_"):
            return _nanmean(ratio(tp, fp, fn))
        return ratio(tp.sum(1), fp.sum(1), fn.sum(1))
    labels, scores = _labels(predictions), _matrix(predictions, "scores")
    if metric == "auroc":
        classes = [scores.shape[1] - 1] if scores.shape[1] == 2 else range(scores.shape[1])
        within = [
            _nanmean(np.stack([_auc(scores[rows, c], labels[rows] == c, weights[:, rows]) for c in classes], axis=1))
            for rows in _folds(predictions)
        ]
        return _nanmean(np.stack(within, axis=1))
    tp, fp, fn = _stat_scores(labels, scores, weights)
    if metric == "accuracy":
        return _divide(tp.sum(1), weights.sum(1))
    return _nanmean(_divide(tp, tp + fn) if metric == "balanced_accuracy" else _dice(tp, fp, fn))


def per_class(predictions: pa.Table, kind: str, metric: str) -> list[float]:
    """One value per class, the background of a segmentation task included; nan where undefined.

    accuracy, balanced_accuracy: recall. macro_f1: F1. auroc: the class's score against the rest.
    dice, macro_dice: Dice. iou, macro_iou: intersection over union.
    """
    _check(metric, kind)
    if predictions.num_rows == 0:
        return []
    ones = np.ones((1, predictions.num_rows))
    if kind == "segmentation":
        tp, fp, fn = (ones @ _matrix(predictions, name) for name in ("tp", "fp", "fn"))
        return (_dice if metric.endswith("dice") else _iou)(tp, fp, fn)[0].tolist()
    labels, scores = _labels(predictions), _matrix(predictions, "scores")
    if metric == "auroc":
        return [
            float(
                _nanmean(np.stack([_auc(scores[r, c], labels[r] == c, ones[:, r]) for r in _folds(predictions)], 1))[0]
            )
            for c in range(scores.shape[1])
        ]
    tp, fp, fn = _stat_scores(labels, scores, ones)
    return (_dice(tp, fp, fn) if metric == "macro_f1" else _divide(tp, tp + fn))[0].tolist()


def _check(metric: str, kind: str) -> None:
    known = CLASSIFICATION_METRICS if kind == "classification" else SEGMENTATION_METRICS
    if metric not in known:
        raise RequestError(f"metric {metric}: a {kind} task is scored by one of {', '.join(known)}")


def _labels(predictions: pa.Table) -> np.ndarray:
    return predictions["label"].to_numpy()


def _folds(predictions: pa.Table) -> list[np.ndarray]:
    """Row numbers of each fold."""
    fold = predictions["fold"].to_numpy()
    return [np.flatnonzero(fold == f) for f in np.unique(fold)]


def _matrix(predictions: pa.Table, column: str) -> np.ndarray:
    """A list column whose lists are equally long as float64 (n_rows, length)."""
    lists = predictions[column].combine_chunks()
    return lists.flatten().to_numpy().astype(np.float64).reshape(predictions.num_rows, -1)


def _stat_scores(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, ...]:
    """Weighted TP, FP, FN, each (B, classes). The class of the highest score is predicted, the first of equals."""
    eye = np.eye(scores.shape[1])
    truth, guess = eye[labels], eye[scores.argmax(1)]
    tp = weights @ (truth * guess)
    return tp, weights @ guess - tp, weights @ truth - tp


def _auc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted Mann-Whitney statistic (B,): pairs in the right order, equal ones half, over all pairs."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))  # first row of each distinct score
    chosen = positive[order]
    rows = max(1, _CHUNK // len(scores))

    def part(some: np.ndarray) -> np.ndarray:
        some = some[:, order]
        up = np.add.reduceat(some * chosen, starts, axis=1)
        down = np.add.reduceat(some * ~chosen, starts, axis=1)
        below = np.cumsum(down, axis=1) - down / 2
        return _divide((up * below).sum(1), up.sum(1) * down.sum(1))

    return np.concatenate([part(weights[i : i + rows]) for i in range(0, len(weights), rows)])


def _dice(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> np.ndarray:
    return _divide(2 * tp, 2 * tp + fp + fn)


def _iou(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> np.ndarray:
    return _divide(tp, tp + fp + fn)


def _divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _nanmean(values: np.ndarray) -> np.ndarray:
    """Mean over the defined values of each row, nan where none is."""
    defined = ~np.isnan(values)
    return _divide(np.where(defined, values, 0.0).sum(1), defined.sum(1).astype(np.float64))
