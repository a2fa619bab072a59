from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from raysweep.randomness import generator
from raysweep.report.drop import relative_drop

from .test_sentences import CELL
from .test_worth import scores

THERE = replace(CELL, tested_on="crag")


def drop(own, there, alpha=0.05):
    found = relative_drop(THERE, "dice", own, there, alpha=alpha)
    assert found is not None
    return found


def test_runs_that_agree_leave_the_units_of_both_sets():
    """The delta method on a ratio of two independent means, Welch's degrees of freedom."""
    rng = generator("drop", "units")
    x, y = 0.8 + 0.05 * rng.normal(size=12), 0.6 + 0.1 * rng.normal(size=20)
    found = drop(scores(np.tile(x, (4, 1))), scores(np.tile(y, (4, 1))))
    parts = [v.var(ddof=1) / len(v) / v.mean() ** 2 for v in (x, y)]
    df = sum(parts) ** 2 / (parts[0] ** 2 / 11 + parts[1] ** 2 / 19)
    half = stats.t.ppf(0.975, df) * np.sqrt(sum(parts))
    middle = np.log(y.mean() / x.mean())
    assert found.value == pytest.approx(1 - y.mean() / x.mean())
    assert (found.low, found.high) == pytest.approx((1 - np.exp(middle + half), 1 - np.exp(middle - half)))


def test_luck_of_a_run_that_both_sets_share_is_taken_out():
    rng = generator("drop", "luck")
    luck = np.array([[0.8], [1.0], [1.1], [0.9], [1.2], [1.0]])
    x, y = 0.6 + 0.01 * rng.normal(size=(6, 12)), 0.5 + 0.01 * rng.normal(size=(6, 12))
    shared, apart = drop(scores(luck * x), scores(luck * y)), drop(scores(luck * x), scores(luck[::-1] * y))
    assert shared.high - shared.low < 0.2 * (apart.high - apart.low)


def test_it_covers_what_it_should():
    rng = generator("drop", "coverage")
    hits = 0
    for _ in range(400):
        run = 0.02 * rng.normal(size=(2, 4, 1)) + 0.02 * rng.normal(size=(1, 4, 1))
        own = 0.8 + 0.08 * rng.normal(size=(1, 12)) + run[0] + 0.05 * rng.normal(size=(4, 12))
        there = 0.6 + 0.08 * rng.normal(size=(1, 10)) + run[1] + 0.05 * rng.normal(size=(4, 10))
        found = drop(scores(own), scores(there), alpha=0.1)
        hits += found.low <= 0.25 <= found.high
    assert 346 <= hits <= 388  # 360 expected, standard deviation 6


def test_pretrainings_are_kept_together():
    rng = generator("drop", "pretrainings")
    effect = 0.1 * rng.normal(size=(3, 1))[np.arange(6) % 3]
    x, y = 0.8 + 0.01 * rng.normal(size=(6, 12)), 0.6 + effect + 0.01 * rng.normal(size=(6, 12))
    groups = (0, 1, 2) * 2
    plain = drop(scores(x), scores(y))
    grouped = drop(replace(scores(x), pretrainings=groups), replace(scores(y), pretrainings=groups))
    assert grouped.value == plain.value
    assert grouped.high - grouped.low > plain.high - plain.low


def test_what_cannot_be_said_has_a_reason():
    rng = generator("drop", "lacks")
    x = 0.8 + 0.05 * rng.normal(size=(3, 12))
    assert "on crag 4 test units" in drop(scores(x), scores(x, lack="4 test units")).reason
    assert drop(scores(x[:2]), scores(x)).reason == "2 repeats: at least 3 are needed"
    assert "not above 0" in drop(scores(x), scores(x - 1)).reason
    same = np.full((3, 12), 0.5)
    assert "spread cannot be judged" in drop(scores(same), scores(same)).reason
    assert relative_drop(THERE, "dice", scores(x), replace(scores(x), repeats=(7, 8, 9)), alpha=0.05) is None
