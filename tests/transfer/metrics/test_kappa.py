"""Quadratic kappa against scikit-learn."""

import warnings

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, recall_score

from raysweep.transfer.metrics import per_class, score
from tests.transfer.metrics.tables import classified, random_classified

KIND = "classification"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("classes", [2, 5])
def test_it_is_scikit_learns(seed: int, classes: int) -> None:
    labels, scores, table = random_classified(seed, classes=classes)
    expected = cohen_kappa_score(labels, scores.argmax(1), weights="quadratic", labels=range(classes))
    assert score(table, "quadratic_kappa", KIND) == pytest.approx(expected)
    recall = recall_score(labels, scores.argmax(1), average=None)
    assert per_class(table, KIND, "quadratic_kappa") == pytest.approx(recall)


def test_classes_are_ordered_as_in_the_card() -> None:
    """A guess two grades away costs four times one grade away."""
    labels = np.array([0, 1, 2, 0, 1, 2])
    near, far = np.array([0, 1, 2, 1, 1, 2]), np.array([0, 1, 2, 2, 1, 2])
    values = [score(classified(labels, np.eye(3)[guesses]), "quadratic_kappa", KIND) for guesses in (near, far)]
    assert values == pytest.approx([cohen_kappa_score(labels, g, weights="quadratic") for g in (near, far)])
    assert values[0] > values[1]


def test_the_ends_of_its_range_and_where_it_is_undefined() -> None:
    opposite = classified(np.array([0, 1]), np.eye(2)[[1, 0]])
    assert score(opposite, "quadratic_kappa", KIND) == -1
    one_guess = classified(np.array([0, 1, 1]), np.eye(2)[[1, 1, 1]])
    assert score(one_guess, "quadratic_kappa", KIND) == 0
    alone = classified(np.array([1, 1]), np.eye(2)[[1, 1]])
    assert np.isnan(score(alone, "quadratic_kappa", KIND))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.isnan(cohen_kappa_score([1, 1], [1, 1], weights="quadratic", labels=[0, 1]))
