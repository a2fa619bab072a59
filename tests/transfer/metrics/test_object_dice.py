"""Object Dice, worked by hand."""

import pytest

from tests.transfer.metrics.tables import object_score


def test_each_object_weighs_by_its_area_in_both_directions() -> None:
    truth, guess = [[1, 1, 1, 1, 0, 2, 2, 0]], [[1, 1, 1, 0, 0, 2, 0, 0]]
    # objects of 3 and 1 px against 4 and 2 px: Dice 6/7 and 2/3
    expected = ((3 * 6 / 7 + 1 * 2 / 3) / 4 + (4 * 6 / 7 + 2 * 2 / 3) / 6) / 2
    assert object_score("object_dice", (truth, guess)) == pytest.approx(expected)


def test_one_object_over_two_meets_the_one_it_overlaps_most() -> None:
    truth, guess = [[1, 1, 1, 2, 2, 0]], [[5, 5, 5, 5, 5, 5]]
    expected = (2 * 3 / 9 + (3 * 2 * 3 / 9 + 2 * 2 * 2 / 8) / 5) / 2
    assert object_score("object_dice", (truth, guess)) == pytest.approx(expected)


def test_sums_go_over_all_images() -> None:
    first, second = ([[1, 1, 1, 1]], [[1, 1, 1, 1]]), ([[1, 0, 0, 0]], [[0, 1, 0, 0]])
    assert object_score("object_dice", first, second) == pytest.approx(4 / 5)
