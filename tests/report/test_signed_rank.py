"""Held to scipy's: its exact table without ties, its permutations with them, its approximation for many."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from raysweep.report.signed_rank import signed_rank_p


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 40))
def test_without_ties_it_is_scipy_s_exact_one(seed, n):
    d = np.random.default_rng(seed).normal(0.3, 1, n)
    for side in ("two-sided", "greater", "less"):
        assert signed_rank_p(d, side) == pytest.approx(stats.wilcoxon(d, alternative=side, method="exact").pvalue)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(-3, 3).filter(bool), min_size=1, max_size=9))
def test_with_ties_it_is_that_of_all_signs(values):
    d = np.array(values, dtype=float)
    ranks = stats.rankdata(np.abs(d))
    signs = np.array(np.meshgrid(*[[0, 1]] * len(d))).reshape(len(d), -1)
    sums, own = ranks @ signs, ranks[d > 0].sum()
    above, below = (sums >= own - 1e-9).mean(), (sums <= own + 1e-9).mean()
    assert signed_rank_p(d, "greater") == pytest.approx(above)
    assert signed_rank_p(d, "less") == pytest.approx(below)
    assert signed_rank_p(d) == pytest.approx(min(1, 2 * min(above, below)))


def test_zeros_are_left_out_and_many_are_approximated():
    d = np.random.default_rng(0).normal(0.2, 1, 60)
    assert signed_rank_p(d) == pytest.approx(stats.wilcoxon(d, method="asymptotic").pvalue)
    assert signed_rank_p(np.array([0.0, 1e-15, 0.5, 0.7, 0.9])) == pytest.approx(0.25)
    assert signed_rank_p(np.zeros(9)) == 1
