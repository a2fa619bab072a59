import numpy as np
import pytest
from scipy import stats

from raysweep.randomness import generator
from raysweep.report.family import NOT_ENOUGH, holm
from raysweep.report.intervals import paired_difference
from raysweep.report.rules import rules

from .test_rules import scores

RULE = "wilcoxon"


def pair(name: str, gap: float, *, units: int = 20, margin: float = 0.02):
    rng = generator("wilcoxon", name)
    a, b = (0.6 + g + 0.05 * rng.normal(size=(4, units)) for g in (gap, 0.0))
    return a, b, paired_difference(scores(a), scores(b), alpha=0.05, margin=margin, test=rules()[RULE].test)


def test_it_is_the_signed_rank_test_of_each_unit_s_mean_over_repeats():
    a, b, found = pair("scipy", 0.02)
    d = (a - b).mean(0)
    assert found.p == pytest.approx(stats.wilcoxon(d).pvalue)
    assert found.p_above == pytest.approx(stats.wilcoxon(d - 0.02, alternative="greater").pvalue)
    sides = stats.wilcoxon(d + 0.02, alternative="greater").pvalue, stats.wilcoxon(d - 0.02, alternative="less").pvalue
    assert found.p_equal == pytest.approx(max(sides))
    assert (found.low, found.found) == (None, None)
    turned = found.turned()
    assert turned.ranks.p() == found.p
    assert turned.ranks.p_below(0.01) == found.ranks.p_above(-0.01)


def test_a_family_is_corrected_by_holm_and_has_no_intervals():
    family = [pair(f"holm {i}", 0.01 * i)[2] for i in range(5)]
    verdicts = rules()[RULE].judge(family, alpha=0.05, margin=0.02)
    assert [v.p_corrected for v in verdicts] == pytest.approx(holm([d.p for d in family]))
    assert {(v.low, v.high) for v in verdicts} == {(None, None)}


def test_units_that_could_never_have_shown_anything_are_not_enough_data():
    """8 units give 2 / 2^8 = 0.0078 at the least: enough for 6 comparisons, and not for 7."""
    clear = pair("few", 0.5, units=8)[2]
    assert clear.p == pytest.approx(2 / 2**8)
    six, seven = (rules()[RULE].judge([clear] * m, alpha=0.05, margin=0.02)[0] for m in (6, 7))
    assert six.word.startswith("better")
    assert seven.word == NOT_ENOUGH
    assert seven.reason == "the signed rank test can give no corrected p below 0.055 with 8 units and 7 comparisons"
    assert seven.p_corrected is None


def test_equal_units_say_nothing():
    same = scores(np.tile(generator("same").uniform(size=(1, 12)), (3, 1)))
    found = paired_difference(same, same, alpha=0.05, margin=0.02, test=rules()[RULE].test)
    assert "spread cannot be judged" in found.reason
