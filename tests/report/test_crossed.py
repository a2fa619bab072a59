"""Held to closed forms, scipy and statsmodels."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from raysweep.randomness import generator
from raysweep.report.crossed import crossed, mean_squares, plain, pseudo_values, satterthwaite, with_groupings


def left_out(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values (S,) and values without each unit (S, n) of the mean of unit values x (S, n)."""
    n = x.shape[-1]
    return x.mean(-1), (x.sum(-1, keepdims=True) - x) / (n - 1)


def draw(name: str, runs: int, units: int, *, seed: float = 0.5, mean: float = 0.3) -> np.ndarray:
    rng = generator("crossed", name)
    return (mean + rng.normal(size=(1, units)) + seed * rng.normal(size=(runs, 1))
            + 0.4 * rng.normal(size=(runs, units)))  # fmt: skip


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=30))
def test_pseudo_values_of_a_mean_are_the_unit_values(values):
    x = np.array([values])
    assert pseudo_values(*left_out(x)) == pytest.approx(x - x.mean(), abs=1e-9)


def test_pseudo_values_are_the_jackknife_s():
    rng = generator("pseudo")
    values, without = rng.uniform(size=3), rng.uniform(size=(3, 7))
    psi = 7 * values[:, None] - 6 * without
    assert pseudo_values(values, without) == pytest.approx(psi - psi.mean(1, keepdims=True))


@pytest.mark.parametrize("runs", [1, 2, 3, 6])
def test_identical_runs_give_the_paired_t_test_over_units(runs):
    rng = generator("paired")
    a, b = rng.normal(0.6, 0.1, 15), rng.normal(0.55, 0.1, 15)
    found = crossed(*left_out(np.tile(a - b, (runs, 1))))
    expected = stats.ttest_rel(a, b)
    low, high = expected.confidence_interval(0.95)
    assert found.p() == pytest.approx(expected.pvalue)
    assert found.df == pytest.approx(14)
    assert (found.value - found.half(0.05), found.value + found.half(0.05)) == pytest.approx((low, high))
    assert (found.seed, found.rest) == pytest.approx((0, 0))


def test_equivalence_is_that_of_statsmodels():
    from statsmodels.stats.weightstats import DescrStatsW

    d = generator("tost").normal(0.004, 0.02, 30)
    found = crossed(*left_out(d[None]))
    weighed = DescrStatsW(d)
    assert found.p_equal(0.02) == pytest.approx(weighed.ttost_mean(-0.02, 0.02)[0])
    low, high = weighed.tconfint_mean(alpha=0.1)
    assert (found.value - found.half(0.1), found.value + found.half(0.1)) == pytest.approx((low, high))
    assert found.p_above(0.001) == pytest.approx(weighed.ttest_mean(0.001, alternative="larger")[1])


def test_equivalence_is_shown_exactly_when_the_90_percent_interval_lies_within_the_margin():
    rng = generator("agree")
    shown = []
    for _ in range(40):
        found = crossed(*left_out(0.01 * rng.normal(0.3, 1, (4, 12))))
        half = found.half(0.1)
        inside = found.value - half > -0.008 and found.value + half < 0.008
        assert (found.p_equal(0.008) < 0.05) == inside
        shown.append(inside)
    assert 0 < sum(shown) < 40


def test_mean_squares_are_those_of_clustered_least_squares():
    """MSu / nS and MSs / nS are the one-way cluster variances of a mean (Cameron, Gelbach and Miller 2011)."""
    import statsmodels.api as sm
    from statsmodels.stats.sandwich_covariance import cov_cluster_2groups

    x = draw("clusters", 6, 20)
    fit = sm.OLS(x.ravel(), np.ones(x.size)).fit()
    runs, units = np.divmod(np.arange(x.size), 20)
    _, by_unit, by_run = cov_cluster_2groups(fit, units, runs)
    squares = mean_squares(*left_out(x))
    assert squares.units / x.size == pytest.approx(by_unit.item() * (x.size - 1) / x.size, rel=0.01)
    assert squares.units / x.size == pytest.approx(((x.mean(0) - x.mean()) ** 2).sum() / 20 / 19)
    assert squares.runs / x.size == pytest.approx(by_run.item(), rel=0.01)


def test_components_and_standard_error_are_those_of_a_mixed_model():
    """REML on balanced data gives the analysis of variance's estimates where none is negative."""
    import pandas as pd
    import statsmodels.formula.api as smf

    x = draw("mixed", 5, 9)
    runs, units = np.divmod(np.arange(x.size), 9)
    frame = pd.DataFrame({"y": x.ravel(), "run": runs, "unit": units, "all": 0})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = smf.mixedlm("y ~ 1", frame, groups="all", vc_formula={"run": "0 + C(run)", "unit": "0 + C(unit)"}).fit()
    found = crossed(*left_out(x))
    components = dict(zip(fit.model.exog_vc.names, fit.vcomp, strict=True))
    assert found.seed == pytest.approx(components["run"], rel=0.02)
    assert found.unit == pytest.approx(components["unit"], rel=0.02)
    assert found.rest == pytest.approx(fit.scale, rel=0.02)
    assert found.se == pytest.approx(fit.bse["Intercept"], rel=0.02)


def test_satterthwaite_is_welch():
    rng = generator("welch")
    a, b = rng.normal(0, 1, 6), rng.normal(0, 3, 11)
    df = satterthwaite([a.var(ddof=1) / 6, b.var(ddof=1) / 11], [5, 10])
    assert df == pytest.approx(stats.ttest_ind(a, b, equal_var=False).df)
    assert satterthwaite([np.array(0.0), np.array(0.0)], [4, 2]) == 2


def test_six_runs_by_hand():
    x = draw("hand", 6, 8, seed=1.0)
    u, s = 6 * x.mean(0).var(ddof=1), 8 * x.mean(1).var(ddof=1)
    e = ((x - x.mean(0) - x.mean(1, keepdims=True) + x.mean()) ** 2).sum() / (7 * 5)
    total = u + s - e
    found = crossed(*left_out(x))
    assert s > e
    assert found.se == pytest.approx(np.sqrt(total / 48))
    assert found.df == pytest.approx(total**2 / (u**2 / 7 + s**2 / 5 + e**2 / 35))
    assert (found.seed, found.unit) == pytest.approx(((s - e) / 8, (u - e) / 6))


def test_few_runs_lose_degrees_of_freedom_and_keep_the_standard_error():
    x = draw("few", 3, 20, seed=0.3)
    squares = mean_squares(*left_out(x))
    careful, ((_, more), (se, df)) = stats.chi2.ppf(0.35, 2), (plain(squares, 0.999999), plain(squares))
    s = squares.runs * 2 / careful
    total = squares.units + s - squares.rest
    expected = total**2 / (squares.units**2 / 19 + s**2 / 2 + squares.rest**2 / 38)
    assert df == pytest.approx(expected)
    assert df < more
    assert se == pytest.approx(np.sqrt((squares.units + squares.runs - squares.rest) / 60))


def test_runs_without_spread_of_their_own_leave_that_of_units():
    rng = generator("calm")
    x = np.tile(rng.normal(size=20), (5, 1)) + 0.1 * rng.normal(size=(5, 20))
    x -= x.mean(1, keepdims=True)
    found = crossed(*left_out(x))
    assert found.df == 19
    assert found.seed == 0
    assert found.se**2 == pytest.approx(x.mean(0).var(ddof=1) / 20)


def test_groupings_by_pretraining_of_both_checkpoints_count():
    x = draw("groups", 6, 10)
    values, without = left_out(x)
    squares = mean_squares(values, without)
    first, second = np.arange(6) % 2, np.arange(6) % 3
    by_first = np.var([values[first == g].mean() for g in range(2)], ddof=1) / 2
    by_second = np.var([values[second == g].mean() for g in range(3)], ddof=1) / 3
    by_unit = squares.units / 60
    found = crossed(values, without, [first, second])
    assert found.se**2 == pytest.approx(by_unit + by_first + by_second)
    assert found.df == pytest.approx(found.se**4 / (by_unit**2 / 9 + by_first**2 + by_second**2 / 2))
    assert found.n_groups == 2
    assert crossed(values, without, [first, first]) == crossed(values, without, [first])
    assert crossed(values, without, [first, np.zeros(6)]) == crossed(values, without, [first])
    alone = crossed(values, without)
    assert crossed(values, without, [np.arange(6), np.zeros(6)]) == alone
    assert crossed(values, without, [np.arange(6), np.arange(6)]) == alone


def test_groups_of_unequal_size_weigh_by_their_runs():
    values, without = left_out(draw("unequal", 4, 10))
    _, df = with_groupings(values, mean_squares(values, without), [np.array([0, 0, 0, 1])])
    part = np.var([values[:3].mean(), values[3]], ddof=1) * (0.75**2 + 0.25**2)
    by_unit = mean_squares(values, without).units / 40
    assert df == pytest.approx((by_unit + part) ** 2 / (by_unit**2 / 9 + part**2))


def test_many_studies_at_once_are_each_alone():
    x = np.stack([draw(f"{i}", 3, 8) for i in range(4)])
    se, df = plain(mean_squares(*left_out(x)))
    alone = [crossed(*left_out(one)) for one in x]
    assert se == pytest.approx([a.se for a in alone])
    assert df == pytest.approx([a.df for a in alone])


def test_smallest_detectable_and_what_more_units_cannot_settle():
    found = crossed(*left_out(draw("power", 5, 30, seed=2.0)))
    t = stats.t(found.df)
    assert found.smallest_detectable(0.05, 4) == pytest.approx((t.ppf(1 - 0.05 / 8) + t.ppf(0.8)) * found.se)
    assert found.units_cannot_settle(0.02)
    assert not found.units_cannot_settle(2.8 * np.sqrt(found.seed / 5) * 1.01)
    assert found.units_cannot_settle(2.8 * np.sqrt(found.seed / 5) * 0.99)
    assert not crossed(*left_out(draw("one", 1, 30))).units_cannot_settle(0.001)
