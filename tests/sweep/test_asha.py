import math

from hypothesis import given
from hypothesis import strategies as st

from raysweep.sweep.asha import should_stop
from raysweep.sweep.history import TrialRecord


def _trial(number: int, metrics: list[float], status: str = "done") -> TrialRecord:
    evaluations = [
        {"step": i, "train_loss": 0.0, "val_loss": 1 - m, "val_metric": m} for i, m in enumerate(metrics, start=1)
    ]
    return TrialRecord(number=number, evaluations=evaluations, status=status)


def test_the_first_two_always_go_on_and_the_third_must_be_best() -> None:
    first, second = _trial(0, [0.9]), _trial(1, [0.1])
    assert not should_stop(first, [first], 9, "val_metric")
    assert not should_stop(second, [first, second], 9, "val_metric")
    worse, equal = _trial(2, [0.89]), _trial(2, [0.9])
    assert should_stop(worse, [first, second, worse], 9, "val_metric")
    assert not should_stop(equal, [first, second, equal], 9, "val_metric")


def test_rungs_are_at_one_three_nine_but_not_at_the_end() -> None:
    others = [_trial(i, [0.5] * 12) for i in range(4)]
    stopped = [
        n for n in range(1, 13) if should_stop(_trial(9, [0.1] * n), [*others, _trial(9, [0.1] * n)], 12, "last")
    ]
    assert stopped == [1, 3, 9]
    third = _trial(9, [0.1] * 3)
    assert not should_stop(third, [*others, third], 3, "val_metric")


def test_losses_are_better_when_smaller_and_the_best_so_far_counts() -> None:
    others = [_trial(i, [0.5] * 3) for i in range(2)]
    lower = _trial(2, [0.4] * 3)
    assert should_stop(lower, [*others, lower], 9, "val_loss")
    fallen = _trial(2, [0.9, 0.1, 0.1])
    assert not should_stop(fallen, [*others, fallen], 9, "val_metric")
    assert should_stop(fallen, [*others, fallen], 9, "last")


def test_failed_trials_and_those_below_the_rung_do_not_count() -> None:
    good = [_trial(i, [0.9] * 3, status) for i, status in enumerate(["failed", "done"])]
    early = _trial(2, [0.9], "pruned")
    poor = _trial(3, [0.1] * 3)
    assert not should_stop(poor, [*good, early, poor], 9, "val_metric")
    undefined = _trial(4, [math.nan] * 3)
    assert should_stop(undefined, [_trial(1, [0.0] * 3), poor, undefined], 9, "val_metric")


@given(st.lists(st.lists(st.floats(0, 1), min_size=5, max_size=5), min_size=1, max_size=40))
def test_a_search_always_has_trials_that_end_and_about_a_third_go_on(metrics: list[list[float]]) -> None:
    trials: list[TrialRecord] = []
    for number, curve in enumerate(metrics):
        trial = _trial(number, [], "asked")
        trials.append(trial)
        for evaluation in _trial(number, curve).evaluations:
            trial.evaluations.append(evaluation)
            if should_stop(trial, trials, 5, "val_metric"):
                trial.status = "pruned"
                break
        else:
            trial.status = "done"
    assert [t.status for t in trials[:2]] == ["done"] * min(2, len(trials))
    best_first = max(curve[0] for curve in metrics)
    assert all(len(t.evaluations) > 1 for t in trials if t.evaluations[0]["val_metric"] == best_first)
