import numpy as np
import pytest

from raysweep.report.intervals import Contrast, paired_difference
from raysweep.report.rules import rules
from tests.report.test_two_sd import FEATURES, FINETUNED

from .test_rules import draw, scores

RULE = rules()["two-sd"]


def published(mean: float, sd: float | None) -> np.ndarray:
    """Five seeds with this mean and standard deviation; an absent one is none."""
    steps = np.array([-1, -0.5, 0, 0.5, 1])
    return mean + (sd or 0.0) * steps / steps.std(ddof=1)


@pytest.mark.parametrize(("table", "better", "worse"), [(FEATURES, 11, 2), (FINETUNED, 0, 0)])
def test_published_counts_as_verdicts(table, better, worse):
    words = []
    for base, sd_base, multi, sd in table:
        sides = published(multi, sd), published(base, sd_base)
        assert np.std(sides[0], ddof=1) == pytest.approx(sd or 0, abs=1e-9)
        units = np.linspace(-1, 1, 10)
        values = sides[0] - sides[1]
        contrast = Contrast(values, values[:, None] + units[None], (), (tuple("abcdefghij"), (0, 1, 2, 3, 4)), sides)
        d = RULE.test(contrast, lack="", alpha=0.05, margin=0.02)
        words.append(RULE.judge([d], alpha=0.05, margin=0.02)[0].word)
    assert (words.count("better"), words.count("worse")) == (better, worse)
    assert words.count("undecided") == 20 - better - worse


def test_it_has_neither_p_values_nor_intervals():
    d = paired_difference(draw("a", 0.9), draw("b", 0.5), alpha=0.05, margin=0.02, test=RULE.test)
    [verdict] = RULE.judge([d], alpha=0.05, margin=0.02)
    assert (d.p, d.low, d.p_equal, d.found, d.two_sd) == (None, None, None, None, True)
    assert (verdict.word, verdict.p_corrected, verdict.low) == ("better", None, None)


def test_what_could_not_be_compared_is_not_judged():
    other = scores(np.full((5, 9), 0.5))
    d = paired_difference(draw("a", 0.9), other, alpha=0.05, margin=0.02, test=RULE.test)
    words = [v.word for v in RULE.judge([d, None], alpha=0.05, margin=0.02)]
    assert words == ["not compared", "not compared"]
