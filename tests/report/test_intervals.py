import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from raysweep.randomness import generator
from raysweep.report.intervals import Scores, cell_interval, paired_difference, run_variance, unit_variance

ALPHA = 0.05


def plain_mean(values: np.ndarray, *, pretrainings=None, runs=None, name: str = "x", resamples: int = 400) -> Scores:
    """Scores of a metric that is the mean of unit values (U, S)."""
    n, n_repeats = values.shape
    rng = generator("test", name)
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=resamples) if n >= 20 else np.zeros((0, n))
    return Scores(
        values=values.mean(axis=0),
        without=(values.sum(axis=0) - values).T / (n - 1),
        resampled=(drawn @ values.mean(axis=1)) / n,
        noise=rng.standard_normal(len(drawn)),
        repeats=tuple(runs or range(n_repeats)),
        pretrainings=tuple(pretrainings or [0] * n_repeats),
        units=tuple(f"u{i:04d}" for i in range(n)),
    )


def draw(rng, units: int, runs: int, *, by_unit: float, by_run: float, by_both: float, mean: float = 0.5) -> np.ndarray:
    return (mean + by_unit * rng.normal(size=(units, 1)) + by_run * rng.normal(size=(1, runs))
            + by_both * rng.normal(size=(units, runs)))  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=30))
def test_jackknife_variance_of_a_mean_is_the_textbook_one(values):
    x = np.array(values)
    without = (x.sum() - x) / (len(x) - 1)
    assert unit_variance(without) == pytest.approx(x.var(ddof=1) / len(x), abs=1e-12)


def test_one_run_gives_the_textbook_t_interval():
    x = generator("t", 0).uniform(0.4, 0.7, (12, 1))
    found = cell_interval(plain_mean(x), ALPHA)
    low, high = stats.ttest_1samp(x[:, 0], 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.basis == "t"


def test_several_runs_add_their_variance():
    x = draw(generator("two", 0), 10, 4, by_unit=0.05, by_run=0.03, by_both=0.02)
    found = cell_interval(plain_mean(x), 0.1)
    by_unit, by_run = x.mean(1).var(ddof=1) / 10, x.mean(0).var(ddof=1) / 4
    df = (by_unit + by_run) ** 2 / (by_unit**2 / 9 + by_run**2 / 3)
    half = stats.t.ppf(0.95, df) * np.sqrt(by_unit + by_run)
    assert (found.low, found.high) == pytest.approx((x.mean() - half, x.mean() + half))


def test_paired_difference_is_the_paired_t_test():
    rng = generator("paired", 0)
    a, b = rng.normal(0.6, 0.1, (15, 1)), rng.normal(0.55, 0.1, (15, 1))
    found = paired_difference(plain_mean(a), plain_mean(b), alpha=ALPHA, margin=0.02)
    expected = stats.ttest_rel(a[:, 0], b[:, 0])
    low, high = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.value == pytest.approx((a - b).mean())


def test_equivalence_p_is_the_larger_of_two_one_sided_tests():
    rng = generator("tost", 0)
    a, b = rng.normal(0.6, 0.01, (30, 1)), rng.normal(0.603, 0.01, (30, 1))
    found = paired_difference(plain_mean(a), plain_mean(b), alpha=ALPHA, margin=0.02)
    d = (a - b)[:, 0]
    above = stats.ttest_1samp(d, -0.02, alternative="greater").pvalue
    below = stats.ttest_1samp(d, 0.02, alternative="less").pvalue
    assert found.p_equal == pytest.approx(max(above, below))


def test_runs_are_paired_by_their_index():
    rng = generator("index", 0)
    luck = rng.normal(0, 0.2, (1, 4))  # of run i, shared by both checkpoints: pairing takes it out
    unit = rng.normal(0.5, 0.05, (10, 1))
    a, b = unit + luck + 0.03 + rng.normal(0, 1e-3, (10, 4)), unit + luck + rng.normal(0, 1e-3, (10, 4))
    order = [2, 0, 3, 1]
    found = paired_difference(plain_mean(a), plain_mean(b[:, order], runs=order), alpha=ALPHA, margin=0.02)
    assert found.value == pytest.approx(0.03, abs=2e-3)
    assert found.high - found.low < 0.01
    some = paired_difference(plain_mean(a), plain_mean(b[:, :2], runs=[1, 7]), alpha=ALPHA, margin=0.02)
    assert some.n_repeats == 1


@pytest.mark.parametrize(("units", "basis"), [(5, "none"), (6, "t"), (19, "t"), (20, "bootstrap")])
def test_basis_follows_the_number_of_units(units, basis):
    x = generator("basis", units).uniform(0.4, 0.6, (units, 2))
    found = cell_interval(plain_mean(x), ALPHA)
    assert found.basis == basis
    assert (found.low is None) == (basis == "none")
    if basis == "none":
        assert found.reason == "5 test units: an interval needs at least 6"
        assert found.value == pytest.approx(x.mean())
    d = paired_difference(plain_mean(x), plain_mean(x[:, ::-1] * 0.9), alpha=ALPHA, margin=0.02)
    assert (d.p is None) == (basis == "none")


@pytest.mark.parametrize("units", [8, 25])
def test_no_spread_gives_no_interval(units):
    same = plain_mean(np.full((units, 3), 0.75))
    found = cell_interval(same, ALPHA)
    assert (found.value, found.low, found.basis) == (0.75, None, "none")
    assert "spread" in found.reason
    d = paired_difference(same, same, alpha=ALPHA, margin=0.02)
    assert (d.value, d.low, d.p) == (0, None, None)


def test_undefined_values_give_no_interval():
    scores = plain_mean(generator("nan", 0).uniform(0.4, 0.6, (10, 2)))
    scores.without[1, 3] = np.nan
    assert "undefined without one" in cell_interval(scores, ALPHA).reason


def test_different_units_are_not_compared():
    x = generator("units", 0).uniform(0.4, 0.6, (10, 2))
    d = paired_difference(plain_mean(x), plain_mean(x[:9]), alpha=ALPHA, margin=0.02)
    assert (d.p, d.reason) == (None, "the two were tested on different units")


def test_runs_of_one_pretraining_are_kept_together():
    values = np.array([0.5, 0.7, 0.5, 0.7])
    apart, count = run_variance(values, np.arange(4))
    assert (apart, count) == (pytest.approx(values.var(ddof=1) / 4), 4)
    together, count = run_variance(values, np.array([0, 1, 0, 1]))  # two pretrainings, each run twice
    assert (together, count) == (pytest.approx(np.var([0.5, 0.7], ddof=1) / 2), 2)
    assert run_variance(values, np.zeros(4)) == (0, 1)


def test_interval_stays_within_the_metric():
    x = np.clip(generator("edge", 0).normal(0.97, 0.08, (8, 2)), 0, 1)
    found = cell_interval(plain_mean(x), ALPHA)
    assert found.high == 1
    assert found.low < found.value


# units, runs, spread by unit, by run, by both: many units, few units, training luck alone, two runs
SETTINGS = [(24, 3, 0.1, 0.0, 0.1), (10, 3, 0.1, 0.05, 0.05), (30, 5, 0.02, 0.05, 0.05), (40, 2, 0.1, 0.03, 0.1)]


@pytest.mark.parametrize("setting", SETTINGS)
def test_coverage_of_new_units_and_new_runs(setting):
    units, runs, *spreads = setting
    by = dict(zip(("by_unit", "by_run", "by_both"), spreads, strict=True))
    rng = generator("coverage", str(setting))
    hits = paired = 0
    for i in range(200):
        a = plain_mean(draw(rng, units, runs, **by), name=f"{i}", resamples=300)
        b = plain_mean(draw(rng, units, runs, **by), name=f"{i}", resamples=300)
        cell, d = cell_interval(a, ALPHA), paired_difference(a, b, alpha=ALPHA, margin=0.02)
        hits += cell.low <= 0.5 <= cell.high
        paired += d.low <= 0 <= d.high
    # 190 expected; the standard deviation of the count is 3. Errs on the wide side, never far on the narrow one.
    assert 181 <= hits <= 200
    assert 181 <= paired <= 200


def test_intervals_are_not_needlessly_wide():
    """Where units are the only source of chance the interval is the t interval, give or take resampling."""
    widths = []
    for i in range(40):
        x = generator("width", i).normal(0.5, 0.1, (30, 1))
        found = cell_interval(plain_mean(x, name=f"{i}", resamples=2000), ALPHA)
        low, high = stats.ttest_1samp(x[:, 0], 0).confidence_interval(0.95)
        widths.append((found.high - found.low) / (high - low))
    assert np.mean(widths) == pytest.approx(1, abs=0.03)
