"""Patient-level accuracy, worked by hand."""

import numpy as np
import pytest

from raysweep.transfer.metrics import per_class, score
from tests.transfer.metrics.tables import classified

KIND = "classification"


def table_of(rows: list[tuple[str, int, list[float]]]):
    units, labels, scores = zip(*rows, strict=True)
    return classified(np.array(labels), np.array(scores), units=list(units))


RIGHT0, WRONG0, RIGHT1, WRONG1 = (0, [0.9, 0.1]), (0, [0.3, 0.7]), (1, [0.2, 0.8]), (1, [0.6, 0.4])
PATIENTS = table_of(
    [("a", *RIGHT0), ("a", *RIGHT0), ("a", *RIGHT0), ("a", *WRONG0), ("b", *WRONG1), ("b", *WRONG1), ("b", *RIGHT1),
     ("c", *RIGHT1)]
)  # fmt: skip


def test_each_patient_counts_once_in_the_mean() -> None:
    assert score(PATIENTS, "mean_patient_accuracy", KIND) == pytest.approx((3 / 4 + 1 / 3 + 1) / 3)
    assert score(PATIENTS, "accuracy", KIND) == pytest.approx(5 / 8)
    assert per_class(PATIENTS, KIND, "mean_patient_accuracy") == pytest.approx([3 / 4, (1 / 3 + 1) / 2])


def test_a_vote_is_right_or_wrong() -> None:
    assert score(PATIENTS, "patient_vote_accuracy", KIND) == pytest.approx(2 / 3)
    assert per_class(PATIENTS, KIND, "patient_vote_accuracy") == pytest.approx([1, 1 / 2])


def test_equal_votes_go_to_the_higher_mean_score() -> None:
    for scores, right in (([0.4, 0.6], 1), ([0.05, 0.95], 0)):
        table = table_of([("a", 0, [0.7, 0.3]), ("a", 0, scores)])
        assert score(table, "patient_vote_accuracy", KIND) == right


def test_a_patient_of_several_classes() -> None:
    """It is of the class of most of its samples for the vote; its accuracy is over all of them."""
    table = table_of([("a", *RIGHT0), ("a", *RIGHT0), ("a", *WRONG1)])
    assert score(table, "patient_vote_accuracy", KIND) == 1
    assert score(table, "mean_patient_accuracy", KIND) == pytest.approx(2 / 3)
    assert per_class(table, KIND, "mean_patient_accuracy") == [1, 0]
    assert per_class(table, KIND, "patient_vote_accuracy") == pytest.approx([1, np.nan], nan_ok=True)


def test_a_patient_drawn_twice_counts_twice() -> None:
    weights = np.array([2] * 4 + [0] * 3 + [1])
    assert score(PATIENTS, "mean_patient_accuracy", KIND, weights) == pytest.approx((2 * 3 / 4 + 1) / 3)
