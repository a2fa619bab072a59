"""The images that are shown: the same few whatever the order, each in one division, and nothing that is not tested."""

from collections.abc import Callable
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raysweep.tasks.shown import MOST_SHOWN, shown_samples
from raysweep.tasks.splits import Fold, folds
from raysweep.tasks.task import Task


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31), n=st.integers(8, 260), k=st.integers(2, 4))
def test_each_is_shown_where_it_is_tested_first(make_task: Callable[..., Task], seed: int, n: int, k: int) -> None:
    task = make_task([(f"p{i}", i % 2) for i in range(n)], splits={"type": "folds", "k": k})
    divisions = folds(task, 0)
    shown = shown_samples(task, divisions, seed)
    every = [i for own in shown for i in own]
    assert len(set(every)) == len(every) == min(n, MOST_SHOWN)
    assert all(own == sorted(own) and set(own) <= set(fold.test) for own, fold in zip(shown, divisions, strict=True))
    again = [*divisions, Fold(k, [], None, divisions[0].test)]  # tested once more
    assert shown_samples(task, again, seed) == [*shown, []]
    turned = replace(task, samples=task.samples[::-1])
    names = {task.samples[i].id for i in every}
    assert {turned.samples[i].id for own in shown_samples(turned, folds(turned, 0), seed) for i in own} == names


def test_another_seed_or_task_shows_others(make_task: Callable[..., Task]) -> None:
    task = make_task([(f"p{i}", i % 2) for i in range(800)])
    (one,), (other,) = (shown_samples(task, folds(task, 0), seed) for seed in (0, 1))
    assert len(one) == len(other) == MOST_SHOWN
    assert one != other
    named = replace(task, card=task.card.model_copy(update={"name": "another"}))
    assert shown_samples(named, folds(task, 0), 0) != [one]
