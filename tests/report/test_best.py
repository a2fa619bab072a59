import numpy as np
import pytest

from raysweep.randomness import generator
from raysweep.report.best import best_set
from raysweep.report.intervals import Difference, Scores, paired_difference


def scores(x: np.ndarray) -> Scores:
    """Of unit values (S, n)."""
    runs, n = x.shape
    return Scores(x.mean(1), (x.sum(1, keepdims=True) - x) / (n - 1), tuple(range(runs)), (0,) * runs,
                  tuple(f"u{i:02d}" for i in range(n)))  # fmt: skip


def between(means: dict[str, float], name: str, units: int = 20) -> dict[str, dict[str, Difference | None]]:
    rng = generator("best", name)
    of = {key: scores(mean + 0.1 * rng.normal(size=(1, units)) + 0.05 * rng.normal(size=(4, units)))
          for key, mean in means.items()}  # fmt: skip
    return {a: {b: paired_difference(of[a], of[b], alpha=0.05, margin=0.02) for b in of if b != a} for a in of}


def test_what_is_clearly_worse_is_left_out_and_the_leader_goes_first():
    assert best_set(between({"a": 0.3, "b": 0.9, "c": 0.5}, "clear"), alpha=0.05) == ("b",)
    near = best_set(between({"a": 0.88, "b": 0.9, "c": 0.3}, "near"), alpha=0.05)
    assert set(near) == {"a", "b"}


def test_of_two_it_is_the_one_sided_test():
    found = between({"a": 0.5, "b": 0.56}, "two")
    d = found["b"]["a"]
    assert d.value > 0
    p = d.found.p() / 2
    assert best_set(found, alpha=p * 1.01) == ("b",)
    assert best_set(found, alpha=p * 0.99) == ("b", "a")


def test_without_a_test_nothing_is_ruled_out():
    none = Difference(0.1, 5, 3, reason="5 units", lacks=True)
    assert best_set({"a": {"b": none}, "b": {"a": none}}, alpha=0.05) == ()
    found = between({"a": 0.3, "b": 0.9}, "some")
    found = {**{k: {**v, "c": None} for k, v in found.items()}, "c": {"a": None, "b": None}}
    assert set(best_set(found, alpha=0.05)) == {"b", "c"}


@pytest.mark.parametrize("units", [10])
def test_the_best_is_in_the_set_as_often_as_it_says(units):
    kept = sum("a" in best_set(between({"a": 0.5, "b": 0.5, "c": 0.5, "d": 0.5}, f"{i}", units), alpha=0.1)
               for i in range(40))  # fmt: skip
    assert kept >= 30  # 36 expected at least, standard deviation 1.9
