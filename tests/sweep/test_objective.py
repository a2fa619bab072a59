import math

import pytest

from raysweep.sweep.objective import best_came_last, best_evaluation, direction, gain


def _evaluations(*pairs: tuple[float, float]) -> list[dict]:
    return [
        {"step": 10 * (i + 1), "train_loss": 0.0, "val_loss": loss, "val_metric": metric}
        for i, (loss, metric) in enumerate(pairs)
    ]


@pytest.mark.parametrize(
    ("select", "expected"), [("val_metric", (0.9, 30)), ("val_loss", (0.2, 20)), ("last", (0.5, 40))]
)
def test_each_rule_picks_its_own_evaluation(select, expected) -> None:
    evaluations = _evaluations((0.9, 0.6), (0.2, 0.7), (0.8, 0.9), (0.6, 0.5))
    assert best_evaluation(evaluations, select) == expected


def test_equal_metrics_go_to_the_lower_loss_then_to_the_earlier() -> None:
    assert best_evaluation(_evaluations((0.9, 0.8), (0.4, 0.8), (0.4, 0.8)), "val_metric") == (0.8, 20)
    assert best_evaluation(_evaluations((math.nan, 0.8), (5.0, 0.8)), "val_metric") == (0.8, 20)
    assert best_evaluation(_evaluations((0.4, 0.1), (0.4, 0.8)), "val_loss") == (0.4, 10)


def test_values_that_are_no_numbers_do_not_count() -> None:
    bad = _evaluations((math.inf, math.nan), (0.5, 0.5))
    assert best_evaluation(bad, "val_metric") == (0.5, 20)
    assert best_evaluation(bad, "val_loss") == (0.5, 20)
    assert best_evaluation(bad[:1], "val_metric") is None
    assert best_evaluation(bad[::-1], "last") is None
    assert best_evaluation([], "val_metric") is None


def test_gain_is_larger_when_better() -> None:
    assert gain(0.2, "val_loss") > gain(0.3, "val_loss")
    assert gain(0.3, "val_metric") > gain(0.2, "val_metric")
    assert [direction(s) for s in ("val_metric", "val_loss", "last")] == ["maximize", "minimize", "maximize"]


def test_a_best_that_came_last_is_told() -> None:
    rising, falling = _evaluations((0.9, 0.1), (0.5, 0.5)), _evaluations((0.4, 0.6), (0.5, 0.5))
    for select in ("val_metric", "val_loss"):
        assert best_came_last(rising, select)
        assert not best_came_last(falling, select)
        assert not best_came_last(rising[:1], select)  # there was nothing to choose from
    assert not best_came_last(rising, "last")
    assert not best_came_last(_evaluations((math.nan, math.nan)) * 2, "val_loss")
