import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysweep.sweep.early import _RUNGS, ETA, _bracket, should_stop
from raysweep.sweep.history import TrialRecord

EVEN = [100 * i for i in range(1, 9)]
GEOMETRIC = [50, 67, 90, 121, 162, 217, 291, 390, 524, 800]


def _trial(number: int, metrics: list[float], status: str = "done", steps: list[int] = EVEN) -> TrialRecord:
    evaluations = [
        {"step": step, "train_loss": 0.0, "val_loss": 1 - m, "val_metric": m}
        for step, m in zip(steps, metrics, strict=False)
    ]
    return TrialRecord(number=number, evaluations=evaluations, status=status)


def _stops(trial: TrialRecord, trials: list[TrialRecord], rule="asha", select="val_metric") -> bool:
    return should_stop(rule, trial, trials, steps=800, select=select)


def _stopped_at(rule: str, others: list[TrialRecord], number: int, steps: list[int], metric: float = 0.1) -> list[int]:
    """Steps at which a trial of these numbers would be stopped if it had come so far."""
    trials = [_trial(number, [metric] * n, "asked", steps) for n in range(1, len(steps) + 1)]
    return [t.evaluations[-1]["step"] for t in trials if _stops(t, [*others, t], rule)]


def test_the_first_two_always_go_on_and_the_third_must_be_best() -> None:
    first, second = _trial(0, [0.5, 0.9]), _trial(1, [0.2, 0.1])
    assert not _stops(first, [first])
    assert not _stops(second, [first, second])
    worse, equal = _trial(2, [0.0, 0.89]), _trial(2, [0.0, 0.9])
    assert _stops(worse, [first, second, worse])
    assert not _stops(equal, [first, second, equal])


@pytest.mark.parametrize(
    ("steps", "stopped"),
    [(EVEN, [200, 600]), (GEOMETRIC, [217]), ([200, 600, 800], [200, 600]), ([400, 800], [400]), ([800], []),
     ([700, 750, 800], [700]), ([199, 201, 599, 600, 800], [201, 600])],
)  # fmt: skip
def test_rungs_are_the_first_evaluations_after_a_quarter_and_three_quarters(steps: list, stopped: list) -> None:
    others = [_trial(i, [0.5] * len(steps), steps=steps) for i in range(4)]
    assert _stopped_at("asha", others, 9, steps) == stopped
    assert _stopped_at("none", others, 9, steps) == []


def test_losses_are_better_when_smaller_and_the_best_so_far_counts() -> None:
    others = [_trial(i, [0.5] * 2) for i in range(2)]
    lower = _trial(2, [0.4] * 2)
    assert _stops(lower, [*others, lower], select="val_loss")
    fallen = _trial(2, [0.9, 0.1])
    assert not _stops(fallen, [*others, fallen])
    assert _stops(fallen, [*others, fallen], select="last")


def test_failed_trials_and_those_below_the_rung_do_not_count() -> None:
    good = [_trial(i, [0.9] * 3, status) for i, status in enumerate(["failed", "done"])]
    early = _trial(2, [0.9], "pruned")
    poor = _trial(3, [0.1] * 2)
    assert not _stops(poor, [*good, early, poor])
    undefined = _trial(4, [math.nan] * 2)
    assert _stops(undefined, [_trial(1, [0.0] * 2), poor, undefined])


def test_hyperband_deals_trials_to_brackets_that_are_spared_rungs() -> None:
    assert len(_RUNGS) == 2
    dealt = [_bracket(n) for n in range(34)]
    assert [dealt[:17].count(b) for b in range(3)] == [9, 5, 3]  # 3^2, 3/2 * 3, 3
    assert dealt[:17] == dealt[17:]
    assert set(dealt[:4]) == {0, 1, 2}  # evenly from the beginning
    for bracket, stopped in ((0, [200, 600]), (1, [600]), (2, [])):
        own = [n for n in range(17) if _bracket(n) == bracket]
        good = [_trial(n, [0.5] * 8) for n in own[: ETA - 1]]
        assert _stopped_at("hyperband", good, own[ETA - 1], EVEN) == stopped
    apart = [_trial(n, [0.5] * 8) for n in range(17) if _bracket(n) == 1]
    first = next(n for n in range(17) if _bracket(n) == 0)
    assert _stopped_at("hyperband", apart, first, EVEN) == []  # others' brackets say nothing


def test_the_median_rule_compares_with_what_ran_to_its_end() -> None:
    ended = [_trial(i, [m - 0.1, m, m + 0.1, *[m] * 5]) for i, m in enumerate((0.3, 0.5, 0.7))]
    cut = [_trial(i, [0.99] * 3, status) for i, status in ((7, "pruned"), (8, "failed"))]
    assert _stopped_at("median", [*ended, *cut], 9, EVEN, 0.44) == [200, 300, 400, 500, 600, 700]
    assert _stopped_at("median", [*ended, *cut], 9, EVEN, 0.46) == [300, 400, 500, 600, 700]  # 0.45, then 0.5
    assert _stopped_at("median", [*ended, *cut], 9, EVEN, 0.51) == []
    assert _stopped_at("median", [*ended[:2], *cut], 9, EVEN) == []


@given(st.lists(st.lists(st.floats(0, 1), min_size=8, max_size=8), min_size=1, max_size=40),
       st.sampled_from(["asha", "hyperband", "median"]))  # fmt: skip
def test_a_search_always_has_trials_that_end(metrics: list[list[float]], rule) -> None:
    trials: list[TrialRecord] = []
    for number, curve in enumerate(metrics):
        trial = _trial(number, [], "asked")
        trials.append(trial)
        for evaluation in _trial(number, curve).evaluations:
            trial.evaluations.append(evaluation)
            if _stops(trial, trials, rule):
                trial.status = "pruned"
                break
        else:
            trial.status = "done"
    assert [t.status for t in trials[:2]] == ["done"] * min(2, len(trials))
    assert all(t.evaluations[-1]["step"] >= 200 for t in trials)  # everyone has a quarter
    if rule == "asha":
        best_first = max(max(curve[:2]) for curve in metrics)
        assert all(len(t.evaluations) > 2 for t in trials if _best_of(t) == best_first)


def _best_of(trial: TrialRecord) -> float:
    return max(e["val_metric"] for e in trial.evaluations[:2])
