"""Average ranks, as worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysweep.errors import WorkError
from raysweep.study.ranking import rank_members


def test_ranks_are_averaged_over_tasks_and_ties_share_theirs() -> None:
    #        one: a 1, b 2.5, c 2.5, d 4    two: c 1, b 2, d 3, a 4    three: b 1, the others without a value 3
    values = {
        "a": {"one": 0.9, "two": 0.1, "three": None},
        "b": {"one": 0.8, "two": 0.6, "three": -5.0},
        "c": {"one": 0.8, "two": 0.7, "three": None},
        "d": {"one": 0.2, "two": 0.5, "three": None},
    }
    found = rank_members(values, 2)
    assert {name: dict(one.ranks) for name, one in found.items()} == {
        "a": {"one": 1, "two": 4, "three": 3},
        "b": {"one": 2.5, "two": 2, "three": 1},
        "c": {"one": 2.5, "two": 1, "three": 3},
        "d": {"one": 4, "two": 3, "three": 3},
    }
    assert [one.mean_rank for one in found.values()] == pytest.approx([8 / 3, 5.5 / 3, 6.5 / 3, 10 / 3])
    assert [name for name, one in found.items() if one.chosen] == ["b", "c"]
    mean = {name: sum(v for v in own.values() if v is not None) / 3 for name, own in values.items()}
    assert max(mean, key=lambda name: mean[name]) == "c", "values themselves would say something else"


def test_equal_ones_go_by_their_order_and_nothing_to_rank_by_is_an_error() -> None:
    tied = {name: {"one": 0.5} for name in "cab"}
    assert [name for name, one in rank_members(tied, 2).items() if one.chosen] == ["c", "a"]
    assert {one.mean_rank for one in rank_members(tied, 1).values()} == {2}
    with pytest.raises(WorkError, match="none of a, b has a value on val"):
        rank_members({"a": {"one": None}, "b": {"one": None}}, 1)


@given(st.data())
def test_another_scale_of_a_task_and_who_is_not_chosen_change_nothing(data: st.DataObject) -> None:
    names, tasks = "abcd"[: data.draw(st.integers(2, 4))], ["t0", "t1"]
    numbers = st.integers(0, 5).map(float)
    values = {name: {task: data.draw(st.none() | numbers) for task in tasks} for name in names}
    values["a"]["t0"] = 1.0
    keep = data.draw(st.integers(1, len(names)))
    found = rank_members(values, keep)
    assert sum(one.chosen for one in found.values()) == keep
    assert sum(one.mean_rank for one in found.values()) == pytest.approx(len(names) * (len(names) + 1) / 2)
    scaled = {n: own | {"t1": None if own["t1"] is None else 100 * own["t1"] - 7} for n, own in values.items()}
    assert rank_members(scaled, keep) == found
    worst = max(one.mean_rank for one in found.values() if one.chosen)
    assert all(one.mean_rank >= worst - 1e-9 for one in found.values() if not one.chosen)
