"""The columns of result rows (one per final) and of prediction files (one row per tested sample)."""

import pyarrow as pa

FORMAT = 1  # part of a cell's fingerprint: raise it when stored results change their meaning

_strings = pa.list_(pa.string())

RESULT_SCHEMA = pa.schema(
    [
        ("study", pa.string()),
        ("checkpoint", pa.string()),
        ("pretraining_seed", pa.int32()),
        ("task", pa.string()),
        ("kind", pa.string()),  # classification | segmentation
        ("test_set", pa.string()),  # the task whose test units were scored
        ("protocol", pa.string()),
        ("fraction", pa.float64()),
        ("n_images", pa.int32()),  # labelled images used, val included; mean over folds, rounded
        ("n_units", pa.int32()),  # units they come from; mean over folds, rounded
        ("n_test_images", pa.int32()),
        ("n_test_units", pa.int32()),
        ("draw", pa.int32()),
        ("seed", pa.int32()),
        ("params", _strings),  # JSON of the chosen setting, one per fold
        ("metric", pa.string()),
        ("value", pa.float64()),  # over the test samples of all folds, pooled
        ("classes", _strings),
        ("per_class", pa.list_(pa.float64())),
        ("predictions", _strings),  # files below the cell's folder, one per fold
        ("cell", pa.string()),  # the cell's folder below the study's
        ("versions", pa.string()),  # JSON
        ("search_seconds", pa.float64()),  # device-seconds of the cell's whole search
        ("train_seconds", pa.float64()),  # device-seconds of this final
    ]
)

CLASSIFICATION_PREDICTIONS = pa.schema(
    [
        ("sample", pa.string()),
        ("unit", pa.string()),
        ("label", pa.int32()),
        ("scores", pa.list_(pa.float32())),  # one probability per class
    ]
)

SEGMENTATION_PREDICTIONS = pa.schema(
    [
        ("sample", pa.string()),
        ("unit", pa.string()),
        ("tp", pa.list_(pa.int64())),  # pixels, one count per class
        ("fp", pa.list_(pa.int64())),
        ("fn", pa.list_(pa.int64())),
    ]
)


def predictions_schema(kind: str) -> pa.Schema:
    """The schema of prediction files for a kind of task."""
    return CLASSIFICATION_PREDICTIONS if kind == "classification" else SEGMENTATION_PREDICTIONS
