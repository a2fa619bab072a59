"""Prediction tables from arrays."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from raysweep.tasks.sample import Sample
from raysweep.transfer.schema import CLASSIFICATION_PREDICTIONS, predictions_schema


def classification_table(samples: Sequence[Sample], scores: np.ndarray, *, fold: int = 0) -> pa.Table:
    """Scores (n, classes), one probability per class, from the model of a fold."""
    columns = [
        pa.array([sample.id for sample in samples]),
        pa.array([sample.unit for sample in samples]),
        pa.array([fold] * len(samples), pa.int32()),
        pa.array([sample.label for sample in samples], pa.int32()),
        _lists(scores, pa.float32()),
    ]
    return pa.table(columns, schema=CLASSIFICATION_PREDICTIONS)


def segmentation_table(
    samples: Sequence[Sample], counts: np.ndarray, *, objects: Mapping[str, np.ndarray] | None = None, fold: int = 0
) -> pa.Table:
    """Pixel counts (n, 3, classes): TP, FP and FN, from the model of a fold.

    objects: the counts (n, d) of each metric that has its own, by its name.
    """
    objects = objects or {}
    columns = [
        pa.array([sample.id for sample in samples]),
        pa.array([sample.unit for sample in samples]),
        pa.array([fold] * len(samples), pa.int32()),
        *(_lists(counts[:, i], pa.int64()) for i in range(3)),
        *(_lists(own, pa.float64()) for own in objects.values()),
    ]
    return pa.table(columns, schema=predictions_schema("segmentation", list(objects)))


def _lists(rows: np.ndarray, kind: pa.DataType) -> pa.Array:
    """A list of equal length for each row (n, length)."""
    starts = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    return pa.ListArray.from_arrays(starts, pa.array(rows.ravel(), kind))
