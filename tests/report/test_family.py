from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from raysweep.report.crossed import Crossed
from raysweep.report.family import holm, judge
from raysweep.report.intervals import Contrast, Difference


def difference(value: float, half: float, *, margin: float = 0.02, name: int = 0, df: float = 10.0) -> Difference:
    """With an interval of ±half at 95 %, on units of its own (so that no two are correlated)."""
    found = Crossed(value, half / stats.t.ppf(0.975, df), df, 0.0, 0.0, 0.0, 20, 3, 3)
    contrast = Contrast(np.array([value]), np.zeros((1, 20)), (), ((), (name,)))
    return Difference(value, 20, 3, value - half, value + half, found.p(), found.p_equal(margin), found.p_above(margin),
                      found=found, contrast=contrast)  # fmt: skip


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


@pytest.mark.parametrize("correction", ["max-t", "holm"])
@pytest.mark.parametrize(
    ("found", "word"),
    [
        (difference(0.05, 0.02), "better by more than the margin"),
        (difference(0.05, 0.04), "better"),
        (difference(-0.05, 0.02), "worse by more than the margin"),
        (difference(-0.05, 0.04), "worse"),
        (difference(0.05, 0.06), "not worse by the margin"),
        (difference(0.05, 0.08), "undecided"),
        (difference(-0.05, 0.06), "undecided"),
        (difference(0.001, 0.01), "no difference that matters"),
        (difference(0.008, 0.004), "no difference that matters"),  # certain, and too small to matter
        (difference(0.0, 0.022), "no difference that matters"),  # by its 90 % interval
        (Difference(0.3, 4, 3, reason="4 test units", lacks=True), "not enough data"),
        (Difference(0.3, 9, 3, reason="different units"), "not compared"),
        (None, "not compared"),
    ],
)
def test_words(found, word, correction):
    assert judge([found], alpha=0.05, margin=0.02, correction=correction)[0].word == word


@pytest.mark.parametrize("correction", ["max-t", "holm"])
def test_a_family_needs_more_than_a_single_comparison(correction):
    one = difference(0.05, 0.0499)
    assert judge([one], alpha=0.05, margin=0.02, correction=correction)[0].word == "better"
    three = judge([one, None, difference(0.0, 0.1, name=1)], alpha=0.05, margin=0.02, correction=correction)
    assert [v.word for v in three] == ["not worse by the margin", "not compared", "undecided"]
    assert three[0].p_corrected == pytest.approx(0.15 if correction == "holm" else 1 - 0.95**3, abs=0.004)
    assert {v.m for v in three} == {3}


def test_p_values_words_and_simultaneous_intervals_agree():
    family = [difference(0.01 * i, 0.03, name=i) for i in range(-12, 13)]
    found = judge(family, alpha=0.05, margin=0.0)
    for v in found:
        assert (v.p_corrected < 0.05) == (v.low > 0 or v.high < 0) == (v.word in ("better", "worse"))
    assert 0 < sum(v.word == "better" for v in found) < 12


def test_equality_is_tested_from_the_most_labels_downwards():
    close, far = difference(0.001, 0.022), difference(-0.03, 0.04, name=1)
    words = lambda family, curves: [v.word for v in judge(family, curves, alpha=0.05, margin=0.02)]  # noqa: E731
    assert words([far, close], ["a", "a"]) == ["undecided", "no difference that matters"]
    assert words([close, far], ["a", "a"]) == ["undecided", "undecided"]
    assert words([close, close], ["a", "b"]) == ["undecided", "undecided"]  # Holm over two curves
    assert words([far, close], ["a", None]) == ["undecided", "undecided"]  # a mean is no point of a curve


def test_without_a_margin_nothing_is_called_equal():
    assert judge([difference(0.0, 0.001, margin=0.0)], alpha=0.05, margin=0)[0].word == "undecided"
