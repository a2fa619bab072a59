import numpy as np
import pytest
from scipy import stats

from raysweep.randomness import generator
from raysweep.report.intervals import mean_difference, paired_difference
from raysweep.report.rules import rules
from raysweep.report.rules.nadeau_bengio import corrected_se

from .test_rules import scores

RULE = rules()["nadeau-bengio"]


def pair(gap: float = 0.03):
    rng = generator("nadeau")
    a, b = (0.6 + g + 0.02 * rng.normal(size=(5, 1)) + 0.02 * rng.normal(size=(5, 10)) for g in (gap, 0.0))
    return a, b, paired_difference(scores(a), scores(b), alpha=0.05, margin=0.02, test=RULE.test)


def test_by_hand():
    assert corrected_se(np.array([1.0, 2.0, 3.0]), 40, 10) == pytest.approx(np.sqrt((1 / 3 + 1 / 4) * 1.0))


def test_no_test_units_give_the_paired_t_test_and_more_of_them_widen_it():
    a, b, found = pair()
    d = (a - b).mean(1)
    alone = stats.ttest_rel(a.mean(1), b.mean(1))
    assert d.mean() / corrected_se(d, 40, 0) == pytest.approx(alone.statistic)
    t = alone.statistic / np.sqrt(1 + 5 * 10 / 40)  # 10 units are tested, 40 labelled
    assert found.p == pytest.approx(2 * stats.t.sf(abs(t), 4))
    assert found.found.df == 4
    assert found.low == pytest.approx(d.mean() - stats.t.ppf(0.975, 4) * abs(d.mean() / t))


def test_rho_is_stated_from_the_smallest_draw_of_a_mean():
    _, _, found = pair()
    assert "rho = n2 / (n1 + n2), here 0.2, and" in RULE.method([found])
    a, b = (scores(generator("small", i).normal(0.6, 0.1, (5, 10))) for i in range(2))
    small = paired_difference(*(type(s)(**{**vars(s), "train_units": 10.0}) for s in (a, b)), alpha=0.05, margin=0.02,
                              test=RULE.test)  # fmt: skip
    assert "here 0.2 to 0.5, and" in RULE.method([found, small])
    mean = mean_difference([found, small], alpha=0.05, margin=0.02, test=RULE.test)
    assert mean.contrast.train_units == 10


def test_an_interval_is_left_out_where_it_would_say_something_else():
    family = [pair(gap)[2] for gap in (0.3, 0.15, 0.12, 0.1, 0.09, 0.08, 0.07, 0.06)]
    verdicts = RULE.judge(family, alpha=0.05, margin=0.02)
    out = [v for v in verdicts if v.low is None]
    assert 0 < len(out) < len(verdicts)
    for v in verdicts:
        assert v.low is None or (v.low > 0) == (v.p_corrected < 0.05)


def test_what_it_needs_is_asked_for():
    a, b, _ = pair()
    unknown = [type(s)(**{**vars(s), "train_units": 0.0}) for s in (scores(a), scores(b))]
    found = paired_difference(*unknown, alpha=0.05, margin=0.02, test=RULE.test)
    assert (found.reason, found.lacks, found.p) == ("the number of labelled units is not known", True, None)
    level = scores(np.tile(np.linspace(0.5, 0.6, 10), (3, 1)))
    rest = scores(np.tile(np.linspace(0.5, 0.7, 10), (3, 1)))
    found = paired_difference(rest, level, alpha=0.05, margin=0.02, test=RULE.test)
    assert "the same in every repeat" in found.reason
