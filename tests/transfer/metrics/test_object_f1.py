"""Object F1 of the GlaS contest, worked by hand."""

import pytest

from tests.transfer.metrics.tables import object_score


def test_an_object_is_right_with_more_than_half_of_a_truth_object() -> None:
    truth = [[1, 1, 1, 1, 0, 2, 2, 0, 0]]
    guess = [[1, 1, 1, 0, 0, 2, 0, 0, 3]]  # 3/4 of one; 1/2 of two, which is not more; nothing
    assert object_score("object_f1", (truth, guess)) == pytest.approx(2 * 1 / (2 * 1 + 2 + 1))


def test_a_large_object_over_two_finds_one_of_them() -> None:
    assert object_score("object_f1", ([[1, 1, 1, 0, 2, 2]], [[4] * 6])) == pytest.approx(2 / (2 + 0 + 1))


def test_a_truth_object_in_pieces() -> None:
    """The piece with more than half of it is right, the others are false."""
    assert object_score("object_f1", ([[1, 1, 1, 1, 1]], [[1, 1, 1, 0, 2]])) == pytest.approx(2 / (2 + 1 + 0))


def test_counts_are_summed_over_images() -> None:
    assert object_score("object_f1", ([[1, 2]], [[1, 2]]), ([[1, 0]], [[0, 1]])) == pytest.approx(4 / (4 + 1 + 1))
