from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from raysweep.randomness import generator
from raysweep.report.crossed import crossed
from raysweep.report.intervals import Scores, cell_interval, mean_difference, paired_difference

ALPHA = 0.05


def plain_mean(values: np.ndarray, *, pretrainings=None, runs=None, lack: str = "") -> Scores:
    """Scores of a metric that is the mean of unit values (U, S)."""
    n, n_repeats = values.shape
    return Scores(
        values=values.mean(axis=0),
        without=(values.sum(axis=0) - values).T / (n - 1),
        repeats=tuple(runs or range(n_repeats)),
        pretrainings=tuple(pretrainings or [0] * n_repeats),
        units=tuple(f"u{i:04d}" for i in range(n)),
        lack=lack,
    )


def draw(rng, units: int, runs: int, *, by_unit: float, by_run: float, by_both: float, mean: float = 0.5) -> np.ndarray:
    return (mean + by_unit * rng.normal(size=(units, 1)) + by_run * rng.normal(size=(1, runs))
            + by_both * rng.normal(size=(units, runs)))  # fmt: skip


def logit(x):
    return np.log(x / (1 - x))


def test_a_value_has_a_t_interval_on_the_logit_scale():
    x = draw(generator("two", 0), 10, 4, by_unit=0.05, by_run=0.03, by_both=0.02, mean=0.8)
    scores = plain_mean(x)
    found, alone = cell_interval(scores, 0.1), crossed(scores.values, scores.without)
    half = stats.t.ppf(0.95, alone.df) * alone.se / (x.mean() * (1 - x.mean()))
    assert (logit(found.low), logit(found.high)) == pytest.approx((logit(x.mean()) - half, logit(x.mean()) + half))
    assert found.value == pytest.approx(x.mean())


def test_one_run_covers_units_alone():
    x = generator("t", 0).uniform(0.45, 0.55, (12, 1))
    found = cell_interval(plain_mean(x), ALPHA)
    low, high = stats.ttest_1samp(x[:, 0], 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)  # near 1/2 the logit is a straight line


def test_kappa_is_placed_between_its_own_bounds():
    x = generator("kappa", 0).normal(0.6, 0.1, (12, 3))
    wide, plain = replace(plain_mean(x), bounds=(-1.0, 1.0)), plain_mean((x + 1) / 2)
    found, halved = cell_interval(wide, ALPHA), cell_interval(plain, ALPHA)
    assert (found.low, found.high) == pytest.approx((2 * halved.low - 1, 2 * halved.high - 1))


def test_a_paired_difference_says_what_crossed_components_say():
    rng = generator("paired", 0)
    a, b = rng.normal(0.6, 0.1, (15, 3)), rng.normal(0.55, 0.1, (15, 3))
    found = paired_difference(plain_mean(a), plain_mean(b), alpha=ALPHA, margin=0.02)
    d = plain_mean(a - b)
    alone = crossed(d.values, d.without)
    assert (found.found.se, found.found.df) == pytest.approx((alone.se, alone.df))
    alone = found.found
    assert (found.p, found.p_equal, found.p_above) == (alone.p(), alone.p_equal(0.02), alone.p_above(0.02))
    assert (found.low, found.high) == (alone.value - alone.half(0.05), alone.value + alone.half(0.05))
    assert (found.equal_low, found.equal_high) == (alone.value - alone.half(0.1), alone.value + alone.half(0.1))
    assert found.one_checkpoint
    turned = found.turned()
    assert (turned.value, turned.low, turned.high) == (-found.value, -found.high, -found.low)
    assert turned.found.p() == found.p


def test_the_mean_over_fractions_is_taken_repeat_by_repeat():
    rng = generator("mean", 0)
    pairs = [(rng.normal(0.6, 0.1, (15, 3)), rng.normal(0.55, 0.1, (15, 3))) for _ in range(2)]
    parts = [paired_difference(plain_mean(a), plain_mean(b), alpha=ALPHA, margin=0.02) for a, b in pairs]
    found = mean_difference(parts, alpha=ALPHA, margin=0.02)
    whole = plain_mean(np.mean([a - b for a, b in pairs], axis=0))
    assert found.found.se == pytest.approx(crossed(whole.values, whole.without).se)
    assert found.value == pytest.approx(np.mean([d.value for d in parts]))
    other = paired_difference(plain_mean(pairs[0][0][:, :2]), plain_mean(pairs[0][1]), alpha=ALPHA, margin=0.02)
    assert mean_difference([parts[0], other], alpha=ALPHA, margin=0.02) is None


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


@pytest.mark.parametrize(("repeats", "lacks"), [(1, True), (2, True), (3, False)])
def test_few_repeats_are_not_enough_for_a_verdict(repeats, lacks):
    rng = generator("few", repeats)
    a, b = rng.normal(0.9, 0.01, (15, repeats)), rng.normal(0.5, 0.01, (15, repeats))
    d = paired_difference(plain_mean(a), plain_mean(b), alpha=ALPHA, margin=0.02)
    assert d.lacks == lacks == (d.p is None) == (d.low is None)
    assert d.reason == (f"{repeats} repeat{'s' * (repeats > 1)}: at least 3 are needed" if lacks else "")


def test_what_the_data_lack_leaves_the_value_alone():
    x = generator("lack", 0).uniform(0.4, 0.6, (10, 3))
    found = cell_interval(plain_mean(x, lack="7 test units"), ALPHA)
    assert (found.value, found.low, found.reason) == (pytest.approx(x.mean()), None, "7 test units")
    d = paired_difference(plain_mean(x), plain_mean(x / 2, lack="7 test units"), alpha=ALPHA, margin=0.02)
    assert (d.p, d.lacks, d.reason) == (None, True, "7 test units")


def test_fewer_than_three_pretrainings_of_either_are_one_checkpoint():
    x = generator("pre", 0).uniform(0.4, 0.6, (10, 6))
    three, two = [0, 1, 2] * 2, [0, 1] * 3
    for ours, base, one in (
        (three, three, False),
        (three, two, True),
        (three, None, True),
        (range(6), range(6), False),
    ):
        d = paired_difference(
            plain_mean(x, pretrainings=list(ours)),
            plain_mean(x[:, ::-1], pretrainings=list(base) if base else None),
            alpha=ALPHA,
            margin=0.02,
        )
        assert d.one_checkpoint == one


@pytest.mark.parametrize("units", [8, 25])
def test_no_spread_gives_no_interval(units):
    same = plain_mean(np.full((units, 3), 0.75))
    found = cell_interval(same, ALPHA)
    assert (found.value, found.low) == (0.75, None)
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


def test_interval_stays_within_the_metric():
    x = np.clip(generator("edge", 0).normal(0.97, 0.08, (8, 2)), 0, 1)
    found = cell_interval(plain_mean(x), ALPHA)
    assert found.low < found.value < found.high < 1


# units, runs, spread by unit, by run, by both: many units, few units, training luck alone, four runs
SETTINGS = [(24, 3, 0.1, 0.0, 0.1), (10, 3, 0.1, 0.05, 0.05), (30, 5, 0.02, 0.05, 0.05), (40, 4, 0.1, 0.03, 0.1)]


@pytest.mark.parametrize("setting", SETTINGS)
def test_coverage_of_new_units_and_new_runs(setting):
    units, runs, *spreads = setting
    by = dict(zip(("by_unit", "by_run", "by_both"), spreads, strict=True))
    rng = generator("coverage", str(setting))
    hits = paired = 0
    for _ in range(200):
        a = plain_mean(draw(rng, units, runs, **by))
        b = plain_mean(draw(rng, units, runs, **by))
        cell, d = cell_interval(a, ALPHA), paired_difference(a, b, alpha=ALPHA, margin=0.02)
        hits += cell.low <= 0.5 <= cell.high
        paired += d.low <= 0 <= d.high
    # 190 expected; the standard deviation of the count is 3. Errs on the wide side, never far on the narrow one.
    assert 181 <= hits <= 200
    assert 181 <= paired <= 200
