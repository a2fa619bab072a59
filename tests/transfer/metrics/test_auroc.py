"""AUROC against scikit-learn and torchmetrics, within folds, of samples and of patients."""

import time

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as tm
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from raysweep.transfer.metrics import auroc, per_class, score, score_groups, score_many
from tests.transfer.metrics.tables import classified, random_classified

KIND = "classification"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_that_of_the_libraries(seed: int, classes: int) -> None:
    labels, scores, table = random_classified(seed, classes=classes)
    t, s = torch.tensor(labels), torch.tensor(scores)
    found = score(table, "auroc", KIND)
    each = [roc_auc_score(labels == c, scores[:, c]) for c in range(classes)]
    assert per_class(table, KIND, "auroc") == pytest.approx(each)
    if classes == 2:
        assert found == pytest.approx(each[1])
        assert found == pytest.approx(tm.binary_auroc(s[:, 1], t).item())
    else:
        assert found == pytest.approx(np.mean(each))
        normalised = s / s.sum(1, keepdim=True)  # torchmetrics takes what does not add up to one for logits
        assert seed % 2 or found == pytest.approx(tm.multiclass_auroc(normalised, t, classes).item(), abs=1e-4)


def test_a_class_without_samples_or_others_is_left_out() -> None:
    scores = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.6, 0.4, 0.0], [0.1, 0.2, 0.7]])
    table = classified(np.array([0, 1, 1, 2]), scores)
    assert score(table, "auroc", KIND, np.array([1, 1, 1, 0])) == pytest.approx((1 + 1) / 2)
    alone = classified(np.array([1, 1]), np.array([[0.4, 0.6], [0.1, 0.9]]))
    for metric in ("auroc", "patient_auroc"):
        assert np.isnan(score(alone, metric, KIND))
        assert np.isnan(per_class(alone, KIND, metric)).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(1, 12), st.booleans(), st.integers(1, 200))
def test_it_is_that_of_all_pairs_however_they_are_counted(
    seed: int, n: int, n_groups: int, ties: bool, chunk: int
) -> None:
    rng = np.random.default_rng(seed)
    labels, groups = rng.integers(0, 2, n), rng.integers(0, n_groups, n)
    scores = rng.integers(0, 5, n) / 8 if ties else rng.random(n)
    weights = rng.integers(0, 4, (7, n_groups)).astype(float)
    table = classified(labels, np.stack([1 - scores, scores], axis=1).astype(np.float32))
    second = np.array(table["scores"].to_pylist())[:, 1]
    above = (second[:, None] > second) + 0.5 * (second[:, None] == second)
    pairs = np.outer(labels == 1, labels == 0)
    expected = []
    for of_row in weights[:, groups]:
        each = pairs * np.outer(of_row, of_row)
        expected.append((each * above).sum() / each.sum() if each.sum() else np.nan)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auroc, "_CHUNK", chunk)
        for most in (0, n_groups):  # row by row, and by the pairs of groups
            patch.setattr(auroc, "_MOST_GROUPS", most)
            found = score_groups(table, "auroc", KIND, groups, weights)
            np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_it_is_computed_within_a_fold_and_averaged() -> None:
    """Scores of two models have no common scale: two perfect folds are perfect together."""
    labels, folds = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]])
    assert score(classified(labels, scores), "auroc", KIND) == 0.75
    for metric in ("auroc", "patient_auroc"):
        assert score(classified(labels, scores, folds), metric, KIND) == 1
        assert per_class(classified(labels, scores, folds), KIND, metric) == [1, 1]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4), st.data())
def test_resamples_of_folds_are_those_of_each_fold(seed: int, classes: int, data: st.DataObject) -> None:
    labels, scores, _ = random_classified(seed, n=12, classes=classes)
    folds = np.array(data.draw(st.lists(st.integers(0, 2), min_size=12, max_size=12)))
    weights = np.array([data.draw(st.lists(st.integers(0, 2), min_size=12, max_size=12)) for _ in range(3)])
    together = score_many(classified(labels, scores, folds), "auroc", KIND, weights)
    for value, row in zip(together, weights, strict=True):
        parts = []
        for fold in np.unique(folds):
            rows = np.flatnonzero(folds == fold)
            part = classified(labels[rows], scores[rows])
            parts.append(score(part, "auroc", KIND, row[rows]))
        defined = [part for part in parts if not np.isnan(part)]
        assert value == pytest.approx(np.mean(defined) if defined else np.nan, nan_ok=True)


@pytest.mark.parametrize("classes", [2, 3])
def test_of_patients_it_ranks_their_mean_scores(classes: int) -> None:
    rng = np.random.default_rng(classes)
    of_patient = np.concatenate([np.arange(classes), rng.integers(classes, size=9)])
    patients = rng.integers(0, len(of_patient), 60)
    patients[: len(of_patient)] = np.arange(len(of_patient))
    scores = rng.dirichlet(np.ones(classes), 60)
    table = classified(of_patient[patients], scores, units=[f"p{p}" for p in patients])
    means = np.stack([scores[patients == p].mean(0) for p in range(len(of_patient))])
    each = [roc_auc_score(of_patient == c, means[:, c]) for c in range(classes)]
    assert per_class(table, KIND, "patient_auroc") == pytest.approx(each)
    assert score(table, "patient_auroc", KIND) == pytest.approx(each[1] if classes == 2 else np.mean(each))


def test_a_patient_is_of_the_class_of_most_of_its_samples() -> None:
    scores = np.array([[0.125, 0.875], [0.375, 0.625], [0.25, 0.75], [0.6, 0.4]])
    table = classified(np.array([1, 1, 0, 0]), scores, units=list("aaab"))
    assert score(table, "patient_auroc", KIND) == 1
    equal = classified(np.array([0, 1, 1]), scores[:3], units=list("aab"))  # a counts as class 0
    assert score(equal, "patient_auroc", KIND) == 0.5  # means of 0.75 each


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(1, 12), st.booleans())
def test_without_a_group_it_is_that_of_the_others(seed: int, n: int, n_groups: int, ties: bool) -> None:
    """The jackknife's weights go by ranks; what they give is what pairs of groups and rows give."""
    rng = np.random.default_rng(seed)
    positive, groups = rng.integers(0, 2, n) == 1, rng.integers(0, n_groups, n)
    place = rng.integers(0, 5, n) if ties else rng.permutation(n)
    weights = np.concatenate([np.ones((1, n_groups)), 1 - np.eye(n_groups)])
    out = auroc._left_out(weights)
    assert out is not None
    assert out.tolist() == [-1, *range(n_groups)]
    found = auroc._by_ranks(place, int(place.max()) + 1, positive, groups, n_groups, out)
    for other in (
        auroc._by_pairs(place, int(place.max()) + 1, positive, groups, weights),
        auroc._by_rows(place, positive, weights[:, groups]),
    ):
        np.testing.assert_allclose(found, other, rtol=1e-12)
    assert auroc._left_out(np.array([[1.0, 2.0]])) is None
    assert auroc._left_out(np.array([[0.0, 0.0, 1.0]])) is None


def test_a_jackknife_of_many_images_takes_well_under_two_seconds() -> None:
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, 2, 39_000), np.arange(39_000) % 1000
    second = rng.random(39_000) * 0.5 + 0.3 * labels
    table = classified(labels, np.stack([1 - second, second], axis=1))
    weights = np.concatenate([np.ones((1, 1000)), 1 - np.eye(1000)])
    start = time.process_time()
    found = score_groups(table, "auroc", KIND, groups, weights)
    assert time.process_time() - start < 2
    assert found[0] == pytest.approx(roc_auc_score(labels, np.array(table["scores"].to_pylist())[:, 1]))
    left = groups != 7
    assert found[8] == pytest.approx(score(table.filter(left), "auroc", KIND))
