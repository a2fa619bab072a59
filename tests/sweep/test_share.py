import pytest

from raysweep.sweep.share import expected_share
from raysweep.transfer.budget import evaluation_steps

ENDS = tuple(evaluation_steps(500, 8))


def test_nobody_is_stopped_without_a_rule_or_among_too_few() -> None:
    assert expected_share("none", 8, ENDS) == (1.0, 1.0)
    assert expected_share("asha", 2, ENDS) == (1.0, 1.0)
    assert expected_share("asha", 8, (500,)) == (1.0, 1.0)


def test_of_three_trials_the_last_goes_on_in_one_of_three() -> None:
    """It stops at the rung of a quarter unless it is the best; the first two are never stopped."""
    steps, _ = expected_share("asha", 3, ENDS)
    assert steps == pytest.approx((2 + 1 / 3 + 2 / 3 * 125 / 500) / 3, abs=0.06)


def test_more_trials_leave_smaller_parts_and_looks_are_early() -> None:
    parts = [expected_share("asha", n, ENDS) for n in (3, 8, 16, 60)]
    assert parts == sorted(parts, reverse=True)
    assert all(steps < looks <= 1 for steps, looks in parts)
    assert expected_share("asha", 1000, ENDS) == parts[-1]
