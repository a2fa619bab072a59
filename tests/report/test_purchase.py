from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from raysweep.randomness import generator
from raysweep.report.crossed import Crossed, crossed
from raysweep.report.family import Verdict
from raysweep.report.findings import TaskFindings
from raysweep.report.intervals import Difference
from raysweep.report.purchase import next_purchases, projected
from raysweep.report.purchase_views import purchase_sentence, purchases_table

from .test_sentences import compared, estimate


def simulated(units: int, runs: int, *, unit: float, seed: float, rest: float, name: str = "") -> Crossed:
    rng = generator("purchase", name, units, runs)
    x = unit * rng.normal(size=(1, units)) + seed * rng.normal(size=(runs, 1)) + rest * rng.normal(size=(runs, units))
    return crossed(x.mean(1), (x.sum(1, keepdims=True) - x) / (units - 1))


def test_as_many_as_there_are_is_what_there_is():
    for runs in (3, 8):
        found = simulated(12, runs, unit=1, seed=0.8, rest=0.5)
        assert found.seed > 0 < found.unit
        assert projected(found, 0.05, units=12, repeats=runs) == pytest.approx(found.half(0.05))


def test_each_source_shrinks_by_what_is_bought_of_it():
    """By hand: SE^2 = unit / n + seed / S + rest / (n S); 400 units and 40 runs have degrees of freedom to spare."""
    found = Crossed(0.0, 1.0, 30.0, 2.0, 3.0, 0.5, 100, 10, 10)
    for units, runs in ((400, 40), (100, 40), (400, 10)):
        se = np.sqrt(3 / units + 2 / runs + 0.5 / (units * runs))
        half = projected(found, 0.05, units=units, repeats=runs)
        assert half == pytest.approx(stats.norm.ppf(0.975) * se, rel=0.16)
        assert half > stats.norm.ppf(0.975) * se


def test_what_is_projected_is_what_larger_studies_have():
    """Means over many studies of 10 units and 4 runs, and of 20 and 4, 10 and 8."""
    size = {"unit": 1.0, "seed": 0.6, "rest": 0.8}
    small = [simulated(10, 6, name=str(i), **size) for i in range(120)]
    for units, repeats in ((20, 6), (10, 12)):
        said = np.sqrt(np.mean([projected(f, 0.05, units=units, repeats=repeats) ** 2 for f in small]))
        larger = [simulated(units, repeats, name=f"l{i}", **size).half(0.05) for i in range(120)]
        assert said == pytest.approx(np.sqrt(np.mean(np.square(larger))), rel=0.15)


def test_grouped_repeats_come_with_pretrainings():
    rng = generator("purchase", "groups")
    group = np.arange(6) % 3
    x = rng.normal(size=(1, 15)) + 0.7 * rng.normal(size=(3, 1))[group] + 0.3 * rng.normal(size=(6, 15))
    found = crossed(x.mean(1), (x.sum(1, keepdims=True) - x) / 14, [group])
    assert found.n_groups == 3
    now, more, wider = (projected(found, 0.05, units=u, repeats=s) for u, s in ((15, 6), (15, 12), (30, 6)))
    assert now == pytest.approx(found.half(0.05), rel=0.02)
    assert more < now
    assert wider > more  # pretrainings differ more than units; what is left of them has two degrees of freedom


def undecided(name: str, fraction: float, found: Crossed, p: float, half: float):
    c = compared(name, fraction, "undecided")
    d = Difference(0.01, found.n_units, found.n_runs, p=0.3, found=found)
    return replace(c, difference=d, verdict=Verdict("undecided", p, 0.5, 0.01 - half, 0.01 + half, 6))


FOUND = Crossed(0.01, 0.012, 14.0, 1e-6, 2e-3, 1e-4, 16, 5, 5)


def task(*comparisons) -> TaskFindings:
    return TaskFindings("glands", "dice", tuple(sorted({c.cell.fraction for c in comparisons})), list(comparisons))


def said(found: TaskFindings):
    estimates = {e.cell.key: e for c in found.comparisons for e in [estimate(c.cell.checkpoint, c.cell.fraction)]}
    return next_purchases([found], estimates), estimates


def test_the_comparison_nearest_to_a_verdict_is_told():
    far, near = undecided("a", 0.1, FOUND, 0.6, 0.05), undecided("b", 0.1, FOUND, 0.08, 0.04)
    [purchase], estimates = said(task(far, near, compared("c", 0.1, "better")))
    assert purchase.comparison is near
    assert [what for what, *_ in purchase.offers] == ["test units", "repeats"]
    text = purchase_sentence(purchase, estimates, "imagenet")
    assert text.startswith(
        "glands, the comparison nearest to a verdict: b with imagenet at 10 %, interval ±4.0 points. Twice the test "
        "patients would narrow it most: 32 test patients ±2."
    )
    assert "; 10 repeats ±" in text
    assert [row[6:8] for row in purchases_table([purchase], "imagenet").rows] == [
        ["test units", "32"],
        ["repeats", "10"],
    ]


def test_seeds_are_bought_where_they_differ_most():
    found = replace(FOUND, seed=2e-3, unit=1e-5)
    [purchase], estimates = said(task(undecided("a", 0.1, found, 0.6, 0.05)))
    assert purchase.offers[0][0] == "repeats"
    assert "Twice the repeats would narrow it most: 10 repeats" in purchase_sentence(purchase, estimates, "imagenet")


def test_labels_are_told_from_three_counts_on_by_their_slope():
    halves = {0.1: 0.08, 0.2: 0.04, 0.4: 0.02}  # half the width with twice the labels
    own = [undecided("a", f, FOUND, 0.5 - f, half) for f, half in halves.items()]
    [purchase], estimates = said(task(*own))
    assert purchase.comparison is own[-1]
    assert purchase.offers[0] == ("labelled images", 192, pytest.approx(0.01))
    assert "192 labelled images ±1.0 (by the slope over" in purchase_sentence(purchase, estimates, "imagenet")
    assert "labelled images" not in {what for what, *_ in said(task(*own[1:]))[0][0].offers}


def test_nothing_undecided_needs_nothing():
    assert said(task(compared("a", 0.1, "better"), compared("b", 0.1, "not enough data")))[0] == []
