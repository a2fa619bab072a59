"""The columns of result rows (one per final, test set and metric) and of prediction files (one per tested sample)."""

from collections.abc import Sequence

import pyarrow as pa

from raysweep.transfer.metrics import get_metric

FORMAT = 3  # part of a repeat's fingerprint: raise it when stored results change their meaning

_strings = pa.list_(pa.string())

RESULT_SCHEMA = pa.schema(
    [
        ("study", pa.string()),
        ("checkpoint", pa.string()),
        ("pretraining_seed", pa.int32()),
        ("task", pa.string()),
        ("kind", pa.string()),  # classification | segmentation
        ("test_set", pa.string()),  # whose units were tested: the task's own name, or that of a further test set
        ("n_folds", pa.int32()),
        ("protocol", pa.string()),
        ("fraction", pa.float64()),
        ("repeat", pa.int32()),
        ("search", pa.string()),  # each: a search of its own | once: repeat 0's | none: a path
        ("n_images", pa.int32()),  # labelled images of the repeat's draw, val included; mean over folds, rounded
        ("n_units", pa.int32()),  # units they come from; mean over folds, rounded
        ("n_val_images", pa.int32()),  # of them, those that settings were chosen by; mean over folds, rounded
        ("n_val_units", pa.int32()),
        ("n_test_images", pa.int32()),
        ("n_test_units", pa.int32()),
        ("params", _strings),  # JSON of the chosen setting, one per fold; empty where no setting could be chosen
        ("at_edge", _strings),  # settings of which some fold's chosen value lies at an end of its range
        ("metric", pa.string()),
        ("value", pa.float64()),  # over all test samples; of a further test set: mean over folds; null: see `reason`
        ("objects", pa.string()),  # how a predicted mask became objects; empty where the metric is not of objects
        ("reason", pa.string()),  # why there is no value; empty otherwise
        ("classes", _strings),
        ("per_class", pa.list_(pa.float64())),
        ("predictions", pa.string()),  # file below the repeat's folder; empty when there is no value
        ("folder", pa.string()),  # the repeat's, below the study's
        ("versions", pa.string()),  # JSON
        ("search_seconds", pa.float64()),  # device-seconds of the repeat's search
        ("train_seconds", pa.float64()),  # device-seconds of its final
    ]
)

CLASSIFICATION_PREDICTIONS = pa.schema(
    [
        ("sample", pa.string()),
        ("unit", pa.string()),
        ("fold", pa.int32()),  # the fold whose model predicted
        ("label", pa.int32()),
        ("scores", pa.list_(pa.float32())),  # one probability per class
    ]
)

SEGMENTATION_PREDICTIONS = pa.schema(
    [
        ("sample", pa.string()),
        ("unit", pa.string()),
        ("fold", pa.int32()),  # the fold whose model predicted
        ("tp", pa.list_(pa.int64())),  # pixels, one count per class; ignored pixels are in none
        ("fp", pa.list_(pa.int64())),
        ("fn", pa.list_(pa.int64())),
    ]
)


def predictions_schema(kind: str, metrics: Sequence[str] = ()) -> pa.Schema:
    """The schema of prediction files for a kind of task whose card lists these metrics.

    A metric that cannot be computed from the columns that all files have adds a list column, named as itself, of the
    counts that it sums over samples.
    """
    schema = CLASSIFICATION_PREDICTIONS if kind == "classification" else SEGMENTATION_PREDICTIONS
    for metric in metrics:
        if metric in get_metric(metric, kind).columns:
            schema = schema.append(pa.field(metric, pa.list_(pa.float64())))
    return schema
