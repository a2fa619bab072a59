"""What holds for every rule, and which one the report says judged."""

from typing import get_args

import numpy as np
import pytest

from raysweep.randomness import generator
from raysweep.report.family import NOT_ENOUGH
from raysweep.report.intervals import Scores, paired_difference
from raysweep.report.registration import changes, record
from raysweep.report.rules import rules
from raysweep.report.spec import CompareSpec
from raysweep.storage import Storage
from tests.report.fake_study import make_study
from tests.report.test_write import page_of

RULES = get_args(CompareSpec.model_fields["rule"].annotation)


def scores(x: np.ndarray, **more) -> Scores:
    """Of a metric that is the mean of unit values x (S, U)."""
    runs, n = x.shape
    return Scores(x.mean(1), (x.sum(1, keepdims=True) - x) / (n - 1), tuple(range(runs)), (0,) * runs,
                  tuple(f"u{i}" for i in range(n)), train_units=40.0, **more)  # fmt: skip


def draw(name: str, mean: float, *, units: int = 24, runs: int = 5) -> Scores:
    rng = generator("rules", name)
    return scores(mean + 0.02 * rng.normal(size=(1, units)) + 0.01 * rng.normal(size=(runs, units)))


def judged(rule: str, gap: float, *, others: int = 0, **more):
    """The difference and its verdict, among others that are nothing."""

    def of(name: str, mean: float):
        pair = draw(f"{name} ours", mean, **more), draw(f"{name} base", 0.6, **more)
        return paired_difference(*pair, alpha=0.05, margin=0.02, test=rules()[rule].test)

    family = [of("first", 0.6 + gap), *(of(f"other {i}", 0.6) for i in range(others))]
    return family[0], rules()[rule].judge(family, alpha=0.05, margin=0.02)[0]


def test_those_that_a_study_may_ask_for_are_those_that_there_are():
    assert set(RULES) == set(rules())


@pytest.mark.parametrize("rule", RULES)
def test_what_is_large_is_found_in_both_directions(rule):
    assert judged(rule, 0.2)[1].word.startswith("better")
    assert judged(rule, -0.2)[1].word.startswith("worse")


@pytest.mark.parametrize("rule", RULES)
def test_a_verdict_needs_units_and_repeats_whatever_judges(rule):
    d, verdict = judged(rule, 0.2, runs=2)
    assert (verdict.word, d.reason, d.p) == (NOT_ENOUGH, "2 repeats: at least 3 are needed", None)
    few = paired_difference(draw("a", 0.9), scores(draw("b", 0.5).values[:, None] + np.zeros((5, 24)), lack="7 units"),
                            alpha=0.05, margin=0.02, test=rules()[rule].test)  # fmt: skip
    assert rules()[rule].judge([few], alpha=0.05, margin=0.02)[0].word == NOT_ENOUGH


@pytest.mark.parametrize("rule", RULES)
def test_p_values_intervals_and_words_agree(rule):
    seen = set()
    for gap in (-0.03, -0.018, -0.01, -0.004, 0.0, 0.004, 0.01, 0.018, 0.03):
        d, verdict = judged(rule, gap, others=1)
        word = verdict.word.split(" by ")[0]
        seen.add(word)
        if verdict.p_corrected is not None:
            differs = verdict.p_corrected < 0.05
            assert differs or word not in ("better", "worse")
            if verdict.low is not None:
                assert (verdict.low > 0 or verdict.high < 0) == differs
        if d.p is not None and d.low is not None:
            assert (d.p < 0.05) == (d.low > 0 or d.high < 0)
        if word in ("better", "worse"):
            assert (word == "better") == (d.value > 0)
    assert {"better", "worse"} <= seen
    assert len(seen) > 2


@pytest.mark.parametrize("rule", ["wilcoxon", "two-sd"])
def test_the_report_says_which_rule_judged(tmp_path, rule):
    study = make_study(tmp_path, fractions=(1.0,), tasks=("tissue",), protocols=("finetune",), units=24,
                       skills={"imagenet": 0.9, "simclr": 1.8})  # fmt: skip
    study.compare = CompareSpec(baseline="imagenet", rule=rule)
    text = page_of(study)[1].text
    assert f"judged by {rules()[rule].said}:" in text
    assert "Crossed" not in text
    assert "simclr" in text[: text.index("Differences to")]
    method = text[text.index("Differences. Repeat i") :]
    assert {"wilcoxon": "signed rank test (1945)", "two-sd": "by a rule of thumb and not by a test"}[rule] in method
    assert "single step" not in method


def test_a_rule_that_was_changed_later_makes_it_exploratory_and_the_default_changes_nothing(tmp_path):
    home = Storage.open(tmp_path)
    home.write_json([{"recorded": "2026-01-01T00:00:00+00:00", "raysweep": "0.1.0",
                      "compare": {"baseline": "a", "margin": 0.02, "alpha": 0.05,
                                  "primary": {"protocol": "finetune", "metric": None}}}], "compare.json")  # fmt: skip
    record(home, CompareSpec(baseline="a"))
    assert len(home.read_json("compare.json")) == 1, "an earlier version knew no rule, and nobody changed it"
    [said] = changes(home, CompareSpec(baseline="a", rule="wilcoxon"))
    assert said.startswith("compare.rule was crossed when the first search began")
