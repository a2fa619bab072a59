"""Every metric against scikit-learn and torchmetrics, and resamples against tables that repeat rows."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import sklearn.metrics as reference
import torch
import torchmetrics.functional.classification as tm
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.errors import RequestError
from raysweep.tasks.card import CLASSIFICATION_METRICS, SEGMENTATION_METRICS
from raysweep.transfer.metrics import per_class, score, score_many
from raysweep.transfer.schema import CLASSIFICATION_PREDICTIONS, SEGMENTATION_PREDICTIONS

PIXELS = 50


def classified(labels: np.ndarray, scores: np.ndarray, folds: np.ndarray | int = 0) -> pa.Table:
    names = [str(i) for i in range(len(labels))]
    fold = np.broadcast_to(folds, len(labels)).astype(np.int32)
    columns = [names, names, fold, labels.astype(np.int32), scores.astype(np.float32).tolist()]
    return pa.table([pa.array(c, t) for c, t in zip(columns, CLASSIFICATION_PREDICTIONS.types, strict=True)],
                    schema=CLASSIFICATION_PREDICTIONS)  # fmt: skip


def segmented(masks: np.ndarray, guesses: np.ndarray, classes: int) -> pa.Table:
    """Masks and guesses: class numbers (n, pixels)."""
    names = [str(i) for i in range(len(masks))]
    c = np.arange(classes)[:, None, None]
    tp, fp, fn = ((masks == c) & (guesses == c), (masks != c) & (guesses == c), (masks == c) & (guesses != c))
    columns = [names, names, [0] * len(names), *(x.sum(2).T.tolist() for x in (tp, fp, fn))]
    return pa.table([pa.array(c, t) for c, t in zip(columns, SEGMENTATION_PREDICTIONS.types, strict=True)],
                    schema=SEGMENTATION_PREDICTIONS)  # fmt: skip


def random_classified(seed: int, n: int = 40, classes: int = 3) -> tuple[np.ndarray, np.ndarray, pa.Table]:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(classes, size=n - classes)])
    scores = rng.dirichlet(np.ones(classes), n).round(1 if seed % 2 else 6)  # rounded: many equal scores
    return labels, scores.astype(np.float32), classified(labels, scores)


def random_segmented(seed: int, n: int = 6, classes: int = 3) -> tuple[np.ndarray, np.ndarray, pa.Table]:
    rng = np.random.default_rng(seed)
    masks, guesses = rng.integers(classes, size=(2, n, PIXELS))
    return masks, guesses, segmented(masks, guesses, classes)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("classes", [2, 4])
def test_classification_metrics_are_those_of_the_libraries(seed: int, classes: int) -> None:
    labels, scores, table = random_classified(seed, classes=classes)
    guesses = scores.argmax(1)
    t, g, s = torch.tensor(labels), torch.tensor(guesses), torch.tensor(scores)
    assert score(table, "accuracy", "classification") == pytest.approx(reference.accuracy_score(labels, guesses))
    balanced = score(table, "balanced_accuracy", "classification")
    assert balanced == pytest.approx(reference.balanced_accuracy_score(labels, guesses))
    assert balanced == pytest.approx(tm.multiclass_accuracy(g, t, classes, average="macro").item())
    f1 = score(table, "macro_f1", "classification")
    assert f1 == pytest.approx(reference.f1_score(labels, guesses, average="macro"))
    assert f1 == pytest.approx(tm.multiclass_f1_score(g, t, classes, average="macro").item())
    auroc = score(table, "auroc", "classification")
    if classes == 2:
        assert auroc == pytest.approx(reference.roc_auc_score(labels, scores[:, 1]))
        assert auroc == pytest.approx(tm.binary_auroc(s[:, 1], t).item())
    else:
        one_vs_rest = [reference.roc_auc_score(labels == c, scores[:, c]) for c in range(classes)]
        assert auroc == pytest.approx(np.mean(one_vs_rest))
        normalised = s / s.sum(1, keepdim=True)  # torchmetrics takes what does not add up to one for logits
        assert seed % 2 or auroc == pytest.approx(tm.multiclass_auroc(normalised, t, classes).item(), abs=1e-4)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("classes", [2, 4])
def test_segmentation_metrics_are_those_of_the_libraries(seed: int, classes: int) -> None:
    masks, guesses, table = random_segmented(seed, classes=classes)
    m, g, foreground = masks.ravel(), guesses.ravel(), list(range(1, classes))
    for metric, function in (("dice", reference.f1_score), ("iou", reference.jaccard_score)):
        micro = function(m, g, labels=foreground, average="micro")
        macro = function(m, g, labels=foreground, average="macro")
        assert score(table, metric, "segmentation") == pytest.approx(micro)
        assert score(table, f"macro_{metric}", "segmentation") == pytest.approx(macro)
        each = function(m, g, average=None)
        assert per_class(table, "segmentation", metric) == pytest.approx(each)
        assert per_class(table, "segmentation", f"macro_{metric}") == pytest.approx(each)
    jaccard = tm.multiclass_jaccard_index(torch.tensor(g), torch.tensor(m), classes, average="none")
    assert per_class(table, "segmentation", "iou") == pytest.approx(jaccard.tolist())


def test_per_class_of_classification() -> None:
    labels, scores, table = random_classified(0)
    guesses = scores.argmax(1)
    recall = reference.recall_score(labels, guesses, average=None)
    assert per_class(table, "classification", "accuracy") == pytest.approx(recall)
    assert per_class(table, "classification", "balanced_accuracy") == pytest.approx(recall)
    f1 = reference.f1_score(labels, guesses, average=None)
    assert per_class(table, "classification", "macro_f1") == pytest.approx(f1)
    auc = [reference.roc_auc_score(labels == c, scores[:, c]) for c in range(3)]
    assert per_class(table, "classification", "auroc") == pytest.approx(auc)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4), st.data())
def test_a_resample_scores_as_the_table_that_repeats_its_rows(seed: int, classes: int, data: st.DataObject) -> None:
    for kind, metrics, make in (("classification", CLASSIFICATION_METRICS, random_classified),
                                ("segmentation", SEGMENTATION_METRICS, random_segmented)):  # fmt: skip
        _, _, table = make(seed, n=8, classes=classes)
        rows = [data.draw(st.lists(st.integers(0, 3), min_size=8, max_size=8)) for _ in range(3)]
        weights = np.array(rows)
        for metric in metrics:
            many = score_many(table, metric, kind, weights)
            assert many.dtype == np.float64
            assert many.shape == (3,)
            for value, row in zip(many, rows, strict=True):
                repeated = table.take(np.repeat(np.arange(8), row))
                assert value == pytest.approx(score(repeated, metric, kind), nan_ok=True)
                assert value == pytest.approx(score(table, metric, kind, np.array(row)), nan_ok=True)


def test_a_class_absent_from_a_resample_is_left_out_of_means() -> None:
    scores = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.6, 0.4, 0.0], [0.1, 0.2, 0.7]])
    table = classified(np.array([0, 1, 1, 2]), scores)
    without_2 = np.array([1, 1, 1, 0])
    assert score(table, "balanced_accuracy", "classification", without_2) == pytest.approx((1 + 1 / 2) / 2)
    assert score(table, "macro_f1", "classification", without_2) == pytest.approx((2 / 3 + 2 / 3) / 2)
    only_1 = np.array([0, 1, 1, 0])  # class 0 is still predicted: its F1 is 0, as in scikit-learn
    assert score(table, "macro_f1", "classification", only_1) == pytest.approx((0 + 2 / 3) / 2)
    assert score(table, "auroc", "classification", without_2) == pytest.approx((1 + 1) / 2)


def test_what_is_undefined_is_nan() -> None:
    one_class = classified(np.array([1, 1]), np.array([[0.4, 0.6], [0.1, 0.9]]))
    assert np.isnan(score(one_class, "auroc", "classification"))
    assert score(one_class, "balanced_accuracy", "classification") == 1
    empty = one_class.slice(0, 0)
    for metric in CLASSIFICATION_METRICS:
        assert np.isnan(score(empty, metric, "classification"))
        assert np.isnan(score(one_class, metric, "classification", np.zeros(2)))
    assert per_class(empty, "classification", "auroc") == []
    background = segmented(np.zeros((1, 4), int), np.zeros((1, 4), int), 3)
    for metric in SEGMENTATION_METRICS:
        assert np.isnan(score(background, metric, "segmentation"))
    assert per_class(background, "segmentation", "dice") == pytest.approx([1, np.nan, np.nan], nan_ok=True)
    one_of_two = segmented(np.array([[0, 1, 1, 0]]), np.array([[0, 1, 0, 0]]), 3)
    assert score(one_of_two, "macro_iou", "segmentation") == pytest.approx(1 / 2)


def test_dice_is_pooled_over_the_set_not_averaged_over_samples() -> None:
    masks = np.array([[1] * 10, [0] * 9 + [1]])
    guesses = np.array([[1] * 10, [1] + [0] * 9])
    assert score(segmented(masks, guesses, 2), "dice", "segmentation") == pytest.approx(20 / 22)


def test_tables_in_several_chunks_and_large_tables() -> None:
    _, _, table = random_classified(1, n=30)
    chunked = pa.concat_tables([table.slice(0, 7), table.slice(7)])
    weights = np.random.default_rng(0).integers(0, 3, (5, 30))
    for metric in CLASSIFICATION_METRICS:
        expected = score_many(table, metric, "classification", weights)
        np.testing.assert_array_equal(score_many(chunked, metric, "classification", weights), expected)


def test_auroc_does_not_depend_on_how_resamples_are_chunked(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, table = random_classified(2)
    weights = np.random.default_rng(0).integers(0, 3, (50, 40))
    whole = score_many(table, "auroc", "classification", weights)
    monkeypatch.setattr("raysweep.transfer.metrics._CHUNK", 80)
    np.testing.assert_array_equal(score_many(table, "auroc", "classification", weights), whole)


def test_what_ranks_is_computed_within_a_fold_and_averaged() -> None:
    """Scores of two models have no common scale: two perfect folds are perfect together."""
    labels, folds = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]])
    assert score(classified(labels, scores), "auroc", "classification") == 0.75
    assert score(classified(labels, scores, folds), "auroc", "classification") == 1
    assert per_class(classified(labels, scores, folds), "classification", "auroc") == [1, 1]
    for metric in ("accuracy", "balanced_accuracy", "macro_f1"):
        whole = score(classified(labels, scores), metric, "classification")
        assert score(classified(labels, scores, folds), metric, "classification") == whole


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4), st.data())
def test_resamples_of_folds_are_those_of_each_fold(seed: int, classes: int, data: st.DataObject) -> None:
    labels, scores, _ = random_classified(seed, n=12, classes=classes)
    folds = np.array(data.draw(st.lists(st.integers(0, 2), min_size=12, max_size=12)))
    weights = np.array([data.draw(st.lists(st.integers(0, 2), min_size=12, max_size=12)) for _ in range(3)])
    together = score_many(classified(labels, scores, folds), "auroc", "classification", weights)
    for value, row in zip(together, weights, strict=True):
        parts = []
        for fold in np.unique(folds):
            rows = np.flatnonzero(folds == fold)
            part = classified(labels[rows], scores[rows])
            parts.append(score(part, "auroc", "classification", row[rows]))
        defined = [part for part in parts if not np.isnan(part)]
        assert value == pytest.approx(np.mean(defined) if defined else np.nan, nan_ok=True)


def test_an_unknown_metric_is_refused() -> None:
    _, _, table = random_classified(0)
    with pytest.raises(RequestError, match="metric dice: a classification task is scored by one of accuracy"):
        score(table, "dice", "classification")


def test_importing_metrics_and_protocols_loads_nothing_heavy() -> None:
    code = ("import sys, raysweep.transfer.metrics, raysweep.transfer.features; "
            "from raysweep.transfer.protocol import check_protocol; check_protocol('finetune', 'segmentation'); "
            "print([m for m in ('torch', 'timm', 'ray', 'sklearn', 'scipy', 'PIL') if m in sys.modules])")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
