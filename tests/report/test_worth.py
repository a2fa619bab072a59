from dataclasses import replace

import numpy as np
import pytest

from raysweep.randomness import generator
from raysweep.report.crossed import crossed
from raysweep.report.intervals import Scores
from raysweep.report.worth import FEWER, MORE, worth_in_labels

IMAGES = [20.0, 60.0, 200.0]


def scores(x: np.ndarray, **more) -> Scores:
    """Of a metric that is the mean of unit values x (S, U)."""
    runs, n = x.shape
    return Scores(x.mean(1), (x.sum(1, keepdims=True) - x) / (n - 1), tuple(range(runs)), (0,) * runs,
                  tuple(f"u{i}" for i in range(n)), **more)  # fmt: skip


def draw(name: str, levels: list[float], *, units: int = 20, runs: int = 4, spread: float = 0.02) -> list[np.ndarray]:
    """Unit values (S, U) at each count of labels, with these means."""
    rng = generator("worth", name)
    unit = spread * rng.normal(size=(1, units))
    return [level + unit + spread * rng.normal(size=(runs, units)) for level in levels]


def curve(name: str, levels: list[float], **more) -> list[Scores]:
    return [scores(x) for x in draw(name, levels, **more)]


BASE = curve("base", [0.5, 0.6, 0.7])


def test_a_curve_reaches_the_score_between_two_counts():
    ours = curve("ours", [0.6, 0.65, 0.8])
    found = worth_in_labels(ours, BASE, IMAGES, alpha=0.05)
    a, b = (s.values.mean() - BASE[-1].values.mean() for s in ours[1:])
    assert found.value == pytest.approx(60 * (200 / 60) ** (a / (a - b)))
    assert 60 < found.low < found.value < found.high < 200
    assert found.saves
    assert (found.images, found.fewest, found.most, found.reason) == (200, 20, 200, "")


def test_the_ends_are_where_the_interval_of_the_contrast_touches_zero():
    """Between the last two counts C(n) is a mean of the cells, weighted by where log n lies."""
    x, base = draw("ours", [0.6, 0.65, 0.8]), draw("base", [0.5, 0.6, 0.7])
    found = worth_in_labels([scores(v) for v in x], BASE, IMAGES, alpha=0.1)
    for n, side in ((found.low, -1), (found.high, 1)):
        part = np.log(n / 60) / np.log(200 / 60)
        d = scores((1 - part) * x[1] + part * x[2] - base[-1])
        alone = crossed(d.values, d.without)
        assert alone.value == pytest.approx(side * alone.half(0.1), rel=2e-3)


def test_either_end_may_lie_outside_what_was_studied():
    early = worth_in_labels(curve("ours", [0.8, 0.82, 0.84]), BASE, IMAGES, alpha=0.05)
    assert (early.low, early.value, early.high) == (FEWER, FEWER, FEWER)
    assert early.saves
    late = worth_in_labels(curve("ours", [0.4, 0.5, 0.55]), BASE, IMAGES, alpha=0.05)
    assert (late.low, late.value, late.high) == (MORE, MORE, MORE)
    assert not late.saves
    near = worth_in_labels(curve("ours", [0.5, 0.6, 0.699], spread=0.05), BASE, IMAGES, alpha=0.05)
    assert near.high == MORE
    assert 60 < near.low < 200
    first = worth_in_labels(curve("ours", [0.702, 0.75, 0.8], spread=0.05), BASE, IMAGES, alpha=0.05)
    assert (first.low, first.high < 200) == (FEWER, True)


def test_a_curve_that_falls_by_chance_is_made_level_for_the_estimate_alone():
    x = draw("ours", [0.66, 0.72, 0.69], spread=0.03)
    found = worth_in_labels([scores(v) for v in x], BASE, IMAGES, alpha=0.05)
    target = BASE[-1].values.mean()
    a, b, c = (v.mean() - target for v in x)
    assert b > c
    level = (b + c) / 2
    expected = 20 * 3 ** (a / (a - level)) if level > 0 else MORE
    assert found.value == pytest.approx(expected)
    assert found.low <= found.value <= found.high


def test_a_higher_level_of_confidence_is_a_wider_interval():
    ours = curve("ours", [0.6, 0.65, 0.8])
    narrow, wide = (worth_in_labels(ours, BASE, IMAGES, alpha=a) for a in (0.2, 0.01))
    assert wide.low < narrow.low < narrow.value == wide.value < narrow.high < wide.high


def test_several_pretrainings_widen_it():
    rng = generator("worth", "pretrainings")
    effect = 0.03 * rng.normal(size=(3, 1))[np.arange(6) % 3]
    base = [scores(x) for x in draw("six", [0.5, 0.6, 0.7], runs=6)]
    ours = [scores(x + effect) for x in draw("our six", [0.6, 0.66, 0.8], runs=6)]
    plain = worth_in_labels(ours, base, IMAGES, alpha=0.05)
    grouped = worth_in_labels([replace(s, pretrainings=(0, 1, 2) * 2) for s in ours], base, IMAGES, alpha=0.05)
    assert grouped.value == plain.value
    assert grouped.high - grouped.low > plain.high - plain.low


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda o, b: (o, [replace(s, lack="7 test units: at least 8 are needed") for s in b]), "7 test units"),
        (lambda o, b: ([o[0], None, o[2]], b), "not every number of labels has a value in each planned repeat"),
        (lambda o, b: (o, [b[0], b[1], replace(b[2], units=("x",) * 20)]), "not the same test units and repeats"),
        (lambda o, b: (o, curve("flat", [0.7, 0.7, 0.7], spread=0.1)), "score was not found to rise from 20 to 200"),
        (lambda o, b: (curve("wild", [0.69, 0.7, 0.71], spread=0.6), b), "no number from 20 or fewer to more than 200"),
        (lambda o, b: ([replace(o[0], values=o[0].values * np.nan), *o[1:]], b), "the metric is undefined"),
    ],
)  # fmt: skip
def test_where_nothing_can_be_said_it_says_why(change, said):
    ours, base = change(curve("ours", [0.6, 0.65, 0.8]), BASE)
    found = worth_in_labels(ours, base, IMAGES, alpha=0.05)
    assert said in found.reason
    assert (found.value, found.low, found.high, found.saves) == (None, None, None, False)


def test_two_repeats_are_too_few_and_equal_counts_are_no_curve():
    two = [[scores(x) for x in draw(n, [0.5, 0.6, 0.7], runs=2)] for n in ("a", "b")]
    assert worth_in_labels(*two, IMAGES, alpha=0.05).reason == "2 repeats: at least 3 are needed"
    assert "the same" in worth_in_labels(BASE, BASE, [20, 20, 200], alpha=0.05).reason
    still = [scores(np.full((3, 20), level)) for level in (0.5, 0.6, 0.7)]
    assert "was not found to rise" in worth_in_labels(still, still, IMAGES, alpha=0.05).reason


def test_it_covers_what_it_should():
    """A straight curve that reaches the score at 110 of 20 to 200 images; see tests/benchmarks/statistics.py."""
    rng = generator("worth", "coverage")
    places = np.log(IMAGES)
    hits = over = 0
    for _ in range(300):
        unit = rng.normal(size=(2, 1, 1, 12))
        x = (unit + rng.normal(size=(2, 3, 1, 12)) * 0.7 + rng.normal(size=(2, 3, 4, 1)) * 0.3
             + rng.normal(size=(2, 3, 4, 12)))  # fmt: skip
        levels = np.stack([2 * (places - np.log(110)), 2 * (places - places[-1])])
        ours, base = ([scores(x[i, k] + levels[i, k]) for k in range(3)] for i in range(2))
        found = worth_in_labels(ours, base, IMAGES, alpha=0.1)
        assert not found.reason
        hits += found.low <= 110 <= found.high
        over += found.high < 110
    # 270 expected with a standard deviation of 5, and 15 with one of 4
    assert 258 <= hits <= 293
    assert over <= 26
