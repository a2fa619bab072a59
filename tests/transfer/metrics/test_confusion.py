"""Accuracy, balanced accuracy and macro F1 against scikit-learn and torchmetrics."""

import numpy as np
import pytest
import sklearn.metrics as reference
import torch
import torchmetrics.functional.classification as tm

from raysweep.transfer.metrics import per_class, score
from tests.transfer.metrics.tables import classified, random_classified

KIND = "classification"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("classes", [2, 4])
def test_they_are_those_of_the_libraries(seed: int, classes: int) -> None:
    labels, scores, table = random_classified(seed, classes=classes)
    guesses = scores.argmax(1)
    t, g = torch.tensor(labels), torch.tensor(guesses)
    assert score(table, "accuracy", KIND) == pytest.approx(reference.accuracy_score(labels, guesses))
    balanced = score(table, "balanced_accuracy", KIND)
    assert balanced == pytest.approx(reference.balanced_accuracy_score(labels, guesses))
    assert balanced == pytest.approx(tm.multiclass_accuracy(g, t, classes, average="macro").item())
    f1 = score(table, "macro_f1", KIND)
    assert f1 == pytest.approx(reference.f1_score(labels, guesses, average="macro"))
    assert f1 == pytest.approx(tm.multiclass_f1_score(g, t, classes, average="macro").item())
    recall = reference.recall_score(labels, guesses, average=None)
    assert per_class(table, KIND, "accuracy") == pytest.approx(recall)
    assert per_class(table, KIND, "balanced_accuracy") == pytest.approx(recall)
    assert per_class(table, KIND, "macro_f1") == pytest.approx(reference.f1_score(labels, guesses, average=None))


def test_a_class_absent_from_a_resample_is_left_out_of_means() -> None:
    scores = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.6, 0.4, 0.0], [0.1, 0.2, 0.7]])
    table = classified(np.array([0, 1, 1, 2]), scores)
    without_2 = np.array([1, 1, 1, 0])
    assert score(table, "balanced_accuracy", KIND, without_2) == pytest.approx((1 + 1 / 2) / 2)
    assert score(table, "macro_f1", KIND, without_2) == pytest.approx((2 / 3 + 2 / 3) / 2)
    only_1 = np.array([0, 1, 1, 0])  # class 0 is still predicted: its F1 is 0, as in scikit-learn
    assert score(table, "macro_f1", KIND, only_1) == pytest.approx((0 + 2 / 3) / 2)


def test_one_class_alone() -> None:
    table = classified(np.array([1, 1]), np.array([[0.4, 0.6], [0.1, 0.9]]))
    assert score(table, "balanced_accuracy", KIND) == 1
    assert per_class(table, KIND, "balanced_accuracy") == pytest.approx([np.nan, 1], nan_ok=True)


def test_folds_are_pooled() -> None:
    labels, scores, table = random_classified(3)
    folded = classified(labels, scores, np.arange(40) % 4)
    for metric in ("accuracy", "balanced_accuracy", "macro_f1", "quadratic_kappa"):
        assert score(folded, metric, KIND) == score(table, metric, KIND)
