from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.report.family import holm, judge
from raysweep.report.intervals import Difference


def difference(value: float, half: float, p: float, p_equal: float = 1.0) -> Difference:
    return Difference(value, 20, 3, value - half, value + half, p, p_equal, 10.0)


def test_holm_by_hand():
    # Sorted: 0.005 * 4, 0.01 * 3, 0.03 * 2, 0.04 * 1 -> running maximum
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_what_could_not_be_tested_stays_in_the_count():
    assert holm([0.01, None, None]) == [pytest.approx(0.03), None, None]
    assert holm([]) == []


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_raises_p_and_keeps_the_order(p):
    adjusted = holm(p)
    assert all(before <= after <= 1 for before, after in zip(p, adjusted, strict=True))
    order = sorted(range(len(p)), key=lambda i: p[i])
    assert all(adjusted[i] <= adjusted[j] for i, j in pairwise(order))
    assert min(adjusted) == pytest.approx(min(1, len(p) * min(p)))


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (difference(0.05, 0.02, 0.001), "better"),
        (difference(-0.05, 0.02, 0.001), "worse"),
        (difference(0.05, 0.06, 0.2), "undecided"),
        (difference(0.001, 0.01, 0.8, 0.001), "no difference that matters"),
        (difference(0.008, 0.004, 0.001, 0.001), "no difference that matters"),  # certain, and too small to matter
        (difference(0.001, 0.018, 0.9, 0.2), "undecided"),  # inside the margin, equivalence not shown
        (Difference(0.3, 4, 3, reason="4 test units"), "undecided"),
        (None, "not compared"),
    ],
)
def test_words(found, word):
    assert judge([found], alpha=0.05, margin=0.02)[0].word == word


def test_a_family_needs_more_than_a_single_comparison():
    one = difference(0.05, 0.04, 0.02)
    assert judge([one], alpha=0.05, margin=0.02)[0].word == "better"
    three = judge([one, None, difference(0.0, 0.1, 0.9)], alpha=0.05, margin=0.02)
    assert [v.word for v in three] == ["undecided", "not compared", "undecided"]
    assert three[0].p_corrected == pytest.approx(0.06)


def test_equivalence_is_corrected_too():
    same = difference(0.001, 0.015, 0.9, 0.02)
    assert judge([same], alpha=0.05, margin=0.02)[0].word == "no difference that matters"
    assert judge([same] * 3, alpha=0.05, margin=0.02)[0].word == "undecided"


def test_without_a_margin_nothing_is_called_equal():
    assert judge([difference(0.0, 0.001, 0.9, 0.5)], alpha=0.05, margin=0)[0].word == "undecided"
