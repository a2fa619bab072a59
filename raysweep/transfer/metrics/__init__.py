"""Every metric, from prediction tables, for all rows or for many resamples of them at once. No torch.

One module here is one metric or a close family. To add one, write a module that calls `register` (it is found by being
in this folder) and its name in `tasks/card.py`, which checks what cards list. Definitions, and what happens with
empty classes and 0/0, stand in each module; a value is nan where it is undefined.
"""

import importlib
import pkgutil
from functools import cache

import numpy as np
import pyarrow as pa

from raysweep.errors import RequestError
from raysweep.tasks.card import METRICS
from raysweep.transfer.metrics.metric import Metric
from raysweep.transfer.metrics.rows import Rows

_REGISTRY: dict[str, Metric] = {}


def register(metric: Metric) -> None:
    """Make a metric known by its name."""
    assert metric.name not in _REGISTRY, f"two metrics are called {metric.name}"
    _REGISTRY[metric.name] = metric


def metrics() -> dict[str, Metric]:
    """Every metric by name."""
    _load()
    return dict(_REGISTRY)


@cache  # the folder is listed once
def _load() -> None:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


def get_metric(name: str, kind: str) -> Metric:
    """Raises RequestError when a task of this kind has no such metric."""
    found = metrics().get(name)
    if found is None or kind not in found.kinds:
        raise RequestError(f"metric {name}: a {kind} task is scored by one of {', '.join(METRICS[kind])}")
    return found


def score(predictions: pa.Table, metric: str, kind: str, weights: np.ndarray | None = None) -> float:
    """The metric over the rows of a table of `predictions_schema(kind)`; nan where it is undefined.

    weights: (n_rows,) how often each row counts, integers; once when not given.
    Raises RequestError when a task of this kind has no such metric, or the table lacks the counts that it needs.
    """
    if weights is None:
        groups = np.zeros(predictions.num_rows, dtype=np.int64)
        return float(score_groups(predictions, metric, kind, groups, np.ones((1, 1)))[0])
    return float(score_many(predictions, metric, kind, np.asarray(weights)[None])[0])


def score_many(predictions: pa.Table, metric: str, kind: str, weights: np.ndarray) -> np.ndarray:
    """The metric under each of B rows of weights (B, n_rows): float64 (B,). Otherwise as `score`.

    For a metric of units the weight of a unit is that of its rows: ValueError when they differ.
    """
    found = _able(predictions, metric, kind)
    weights = np.asarray(weights, dtype=np.float64)
    if predictions.num_rows == 0:
        return np.full(len(weights), np.nan)
    rows = Rows(predictions)
    if found.level != "unit" and not getattr(found, "by_unit", False):
        return found.many(rows, np.arange(len(rows)), weights)
    _, first = np.unique(rows.units, return_index=True)
    if not np.array_equal(weights, weights[:, first][:, rows.units]):
        raise ValueError(f"{metric} is a metric of units: all rows of a unit need the same weight")
    return found.many(rows, rows.units, weights[:, first])


def score_groups(predictions: pa.Table, metric: str, kind: str, groups: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The metric under each of B rows of weights (B, n_groups) of groups of whole units: float64 (B,).

    groups: (n_rows,) the group of each row. Much faster than the weights of rows where groups are few.
    Otherwise as `score`.
    """
    found = _able(predictions, metric, kind)
    if predictions.num_rows == 0:
        return np.full(len(weights), np.nan)
    return found.many(Rows(predictions), np.asarray(groups), np.asarray(weights, dtype=np.float64))


def per_class(predictions: pa.Table, kind: str, metric: str) -> list[float]:
    """One value per class, the background of a segmentation task included; nan where undefined."""
    found = _able(predictions, metric, kind)
    return found.per_class(Rows(predictions)).tolist() if predictions.num_rows else []


def lacks_counts(predictions: pa.Table, metric: str, kind: str) -> bool:
    """Whether the table does not hold what the metric is computed from."""
    return not set(get_metric(metric, kind).columns) <= set(predictions.column_names)


def _able(predictions: pa.Table, metric: str, kind: str) -> Metric:
    found = get_metric(metric, kind)
    if lacks_counts(predictions, metric, kind):
        raise RequestError(
            f"metric {metric}: the predictions hold no counts for it; list it under the card's metrics and run again"
        )
    return found
