"""Every registered metric: what is said of all of them holds for each."""

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.errors import RequestError
from raysweep.tasks.card import CLASSIFICATION_METRICS, METRICS, OBJECT_METRICS, SEGMENTATION_METRICS
from raysweep.transfer.metrics import get_metric, metrics, per_class, score, score_groups, score_many
from raysweep.transfer.metrics.metric import Additive
from raysweep.transfer.metrics.rows import Rows
from raysweep.transfer.schema import SEGMENTATION_PREDICTIONS, predictions_schema
from tests.transfer.metrics.tables import classified, random_segmented, random_table, segmented, with_objects

EVERY = [(name, kind) for kind, names in METRICS.items() for name in names]


def codes(table: pa.Table) -> np.ndarray:
    return np.unique(table["unit"].to_pylist(), return_inverse=True)[1]


def repeated(table: pa.Table, times: np.ndarray) -> pa.Table:
    """The table with the rows of unit u `times[u]` times, each time as another unit."""
    unit = codes(table)
    parts = []
    for again in range(int(times.max(initial=0))):
        part = table.take(np.flatnonzero(times[unit] > again))
        parts.append(
            part.set_column(1, "unit", pa.array([f"{u}+{again}" for u in part["unit"].to_pylist()], pa.string()))
        )
    return pa.concat_tables(parts) if parts else table.slice(0, 0)


def test_cards_know_every_metric_and_none_else() -> None:
    found = metrics()
    assert set(found) == {*CLASSIFICATION_METRICS, *SEGMENTATION_METRICS}
    for name, kind in EVERY:
        assert found[name].kinds == {kind}
        assert found[name].level in ("sample", "unit", "ranking")
    assert {name for name, m in found.items() if name in m.columns} == set(OBJECT_METRICS)


@pytest.mark.parametrize(("name", "kind"), EVERY)
@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4))
def test_weights_are_resamples_of_units(name: str, kind: str, seed: int, classes: int) -> None:
    table = random_table(kind, seed, 8, classes)
    unit = codes(table)
    n_units = unit.max() + 1
    whole = score(table, name, kind)
    low, high = get_metric(name, kind).bounds
    assert np.isnan(whole) or low <= whole <= high + 1e-12
    assert score_many(table, name, kind, np.ones((1, 8)))[0] == pytest.approx(whole, nan_ok=True)
    rng = np.random.default_rng(seed)
    assert score(table.take(rng.permutation(8)), name, kind) == pytest.approx(whole, nan_ok=True)
    times = rng.integers(0, 4, (2, n_units))
    many = score_many(table, name, kind, times[:, unit])
    assert many.dtype == np.float64
    assert many == pytest.approx([score(repeated(table, row), name, kind) for row in times], nan_ok=True)
    assert score_groups(table, name, kind, unit, times) == pytest.approx(many, nan_ok=True)
    assert score(table, name, kind, times[0][unit]) == pytest.approx(many[0], nan_ok=True)
    each = json.loads(json.dumps(per_class(table, kind, name)))
    assert len(each) == classes
    assert all(np.isnan(value) or low <= value <= high + 1e-12 for value in each)


@pytest.mark.parametrize(("name", "kind"), [e for e in EVERY if metrics()[e[0]].level == "sample"])
@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_counts_add_up_over_samples(name: str, kind: str, seed: int, cut: int) -> None:
    table, metric = random_table(kind, seed, 8, 3), get_metric(name, kind)
    assert isinstance(metric, Additive)
    sums = sum(metric.vectors(Rows(part)).sum(0) for part in (table.slice(0, cut), table.slice(cut)))
    assert metric.value(sums[None])[0] == pytest.approx(score(table, name, kind), nan_ok=True)


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_without_rows_or_weights_nothing_is_defined(name: str, kind: str) -> None:
    table = random_table(kind, 0, 6, 3)
    assert np.isnan(score(table.slice(0, 0), name, kind))
    assert per_class(table.slice(0, 0), kind, name) == []
    assert np.isnan(score(table, name, kind, np.zeros(6)))
    assert np.isnan(score_many(table.slice(0, 0), name, kind, np.ones((2, 0)))).all()


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_chunks_and_slices_of_tables_make_no_difference(name: str, kind: str) -> None:
    table = random_table(kind, 1, 12, 3)
    chunked = pa.concat_tables([table.slice(0, 7), table.slice(7)])
    assert score(chunked, name, kind) == score(table, name, kind)
    assert score(chunked.slice(3), name, kind) == score(table.take(np.arange(3, 12)), name, kind)


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_a_perfect_prediction_has_the_highest_value(name: str, kind: str) -> None:
    if kind == "classification":
        labels = np.array([0, 1, 0, 1, 1])
        table = classified(labels, np.eye(2)[labels], units=list("abacc"))
    else:
        masks = np.array([[[0, 1, 1], [0, 0, 2]], [[1, 0, 0], [0, 2, 2]]])
        table = with_objects(segmented(masks > 0, masks > 0, 2), masks, masks)
    assert score(table, name, kind) == get_metric(name, kind).bounds[1]


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_models_that_were_tested_on_the_same_samples_are_averaged(name: str, kind: str) -> None:
    """A further test set: each fold's model predicts all of it, and rows are never pooled."""
    parts = [random_table(kind, seed, 8, 2) for seed in (2, 4, 6)]
    units = parts[0]["unit"]
    parts = [part.set_column(1, "unit", units) for part in parts]
    folded = [part.set_column(2, "fold", pa.array([i] * 8, pa.int32())) for i, part in enumerate(parts)]
    together = pa.concat_tables(folded)
    assert score(together, name, kind) == pytest.approx(np.mean([score(part, name, kind) for part in parts]))
    unit, times = codes(parts[0]), np.array([2, 0, 1, 1])
    times = times[: unit.max() + 1]
    drawn = score_groups(together, name, kind, np.tile(unit, 3), times[None])[0]
    assert drawn == pytest.approx(np.nanmean([score_groups(p, name, kind, unit, times[None])[0] for p in parts]))


def test_a_unit_of_several_divisions_counts_once() -> None:
    """Unit a is tested by both folds, with half of its samples right in one and all in the other; b only in one."""
    right = [1, 0, 1, 1, 0, 0]
    labels = np.zeros(6, int)
    scores = np.array([[0.9, 0.1] if r else [0.1, 0.9] for r in right])
    table = classified(labels, scores, np.array([0, 0, 1, 1, 1, 1]), units=list("aaaabb"))
    assert score(table, "mean_patient_accuracy", "classification") == pytest.approx((0.75 + 0) / 2)
    assert score(table, "accuracy", "classification") == pytest.approx((1 + 2) / 2 / 4)


def test_weights_that_split_a_unit_are_refused() -> None:
    table = classified(np.array([0, 1]), np.eye(2), units=["a", "a"])
    with pytest.raises(ValueError, match="mean_patient_accuracy is a metric of units"):
        score(table, "mean_patient_accuracy", "classification", np.array([1, 2]))


def test_what_cannot_be_computed_is_refused() -> None:
    table = classified(np.array([0, 1]), np.eye(2))
    with pytest.raises(RequestError, match="metric dice: a classification task is scored by one of accuracy"):
        score(table, "dice", "classification")
    masks = random_segmented(0)[2]
    with pytest.raises(RequestError, match="metric pq: the predictions hold no counts for it; list it under"):
        score(masks, "pq", "segmentation")


def test_only_metrics_with_counts_of_their_own_add_columns() -> None:
    assert predictions_schema("segmentation", ["dice", "image_dice"]).equals(SEGMENTATION_PREDICTIONS)
    assert predictions_schema("segmentation", ["dice", "pq", "aji"]).names[-2:] == ["pq", "aji"]
    assert predictions_schema("classification", CLASSIFICATION_METRICS).names[-1] == "scores"


def test_importing_metrics_and_protocols_loads_nothing_heavy() -> None:
    code = ("import sys, raysweep.transfer.metrics, raysweep.transfer.features; "
            "from raysweep.transfer.protocol import check_protocol; check_protocol('finetune', 'segmentation'); "
            "raysweep.transfer.metrics.metrics(); "
            "print([m for m in ('torch', 'timm', 'ray', 'sklearn', 'scipy', 'PIL') if m in sys.modules])")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
