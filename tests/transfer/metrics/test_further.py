"""On a further test set every fold's model is tested on all of it: a value is the mean over these models."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.tasks.card import OBJECT_METRICS
from raysweep.transfer.metrics import metrics, per_class, score, score_groups
from raysweep.transfer.schema import CLASSIFICATION_PREDICTIONS, SEGMENTATION_PREDICTIONS

_NAMES = [(kind, name) for name, metric in metrics().items() for kind in sorted(metric.kinds)
          if name not in OBJECT_METRICS]  # fmt: skip


def _model(kind: str, fold: int, rng: np.random.Generator) -> pa.Table:
    """Predictions of one fold's model for 12 samples of 5 units."""
    n = 12
    common = {"sample": [f"s{i}" for i in range(n)], "unit": [f"u{i % 5}" for i in range(n)],
              "fold": np.full(n, fold, np.int32)}  # fmt: skip
    if kind == "classification":
        scores = rng.dirichlet([1, 1, 1], n).astype(np.float32)
        return pa.table(common | {"label": np.arange(n, dtype=np.int32) % 3, "scores": list(scores)},
                        schema=CLASSIFICATION_PREDICTIONS)  # fmt: skip
    counts = {name: list(rng.integers(1, 90, (n, 2))) for name in ("tp", "fp", "fn")}
    return pa.table(common | counts, schema=SEGMENTATION_PREDICTIONS)


@pytest.mark.parametrize(("kind", "metric"), _NAMES)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(2, 5))
def test_the_value_is_the_mean_over_the_models_of_the_folds(kind: str, metric: str, seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    models = [_model(kind, fold, rng) for fold in range(k)]
    table = pa.concat_tables(models)
    table = table.take(rng.permutation(table.num_rows))
    assert score(table, metric, kind) == pytest.approx(np.mean([score(m, metric, kind) for m in models]))
    by_class = np.mean([per_class(m, kind, metric) for m in models], axis=0)
    assert per_class(table, kind, metric) == pytest.approx(by_class, nan_ok=True)
    units = {f"u{i}": i for i in range(5)}
    weights = rng.multinomial(5, [0.2] * 5, size=3).astype(float)  # resamples, as intervals are made from
    of = lambda t: score_groups(t, metric, kind, np.array([units[u] for u in t["unit"].to_pylist()]), weights)  # noqa: E731
    assert of(table) == pytest.approx(np.mean([of(m) for m in models], axis=0), nan_ok=True)
