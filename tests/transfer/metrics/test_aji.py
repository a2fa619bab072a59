"""The aggregated Jaccard index, worked by hand."""

import pytest

from tests.transfer.metrics.tables import object_score


def test_intersections_over_unions_and_what_nobody_took() -> None:
    truth = [[1, 1, 1, 0, 2, 2, 0, 3, 0, 0]]
    guess = [[1, 1, 0, 0, 2, 2, 2, 0, 0, 4]]
    # 2 of 3, 2 of 3; truth 3 overlaps none (1), guess 4 was not taken (1)
    assert object_score("aji", (truth, guess)) == pytest.approx((2 + 2) / (3 + 3 + 1 + 1))


def test_the_partner_is_that_of_the_highest_iou_not_of_most_pixels() -> None:
    truth = [[1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]]
    guess = [[2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3]]  # IoU 2/5 with 2 px, 3/11 with 3 px
    assert object_score("aji", (truth, guess)) == pytest.approx(2 / (5 + 9))


def test_one_predicted_object_may_be_taken_twice() -> None:
    assert object_score("aji", ([[1, 1, 0, 2, 2]], [[7] * 5])) == pytest.approx((2 + 2) / (5 + 5))


def test_sums_go_over_all_images() -> None:
    assert object_score("aji", ([[1, 1]], [[1, 1]]), ([[1, 1, 1]], [[1, 0, 0]])) == pytest.approx(3 / 5)
