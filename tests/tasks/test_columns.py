"""Samples as columns."""

import numpy as np

from raysweep.randomness import stable_hash


def test_columns_count_what_samples_show(make_task):
    task = make_task([("q", (0, 1)), ("p", (0,)), ("q", ()), ("p", (0, 1))], kind="segmentation")
    columns = task.columns
    assert columns.units == ["p", "q"]
    assert columns.unit.tolist() == [1, 0, 1, 0]
    assert [columns.strata[s] for s in columns.stratum] == [(0, 1), (0,), (), (0, 1)]
    assert columns.classes(np.array([0, 2, 3])).tolist() == [2, 2]
    units, counts = columns.counts(np.array([0, 1, 2]))
    assert (units.tolist(), counts.tolist()) == ([0, 1], [[1, 0, 1], [1, 1, 2]])
    units, counts = columns.counts(np.array([2]))
    assert (units.tolist(), counts.tolist()) == ([1], [[0, 0, 1]])


def test_units_by_luck(make_task):
    columns = make_task([(f"p{i}", 0) for i in range(9)]).columns
    got = columns.by_luck(np.arange(9), ("a", 1))
    assert [columns.units[i] for i in got] == sorted(columns.units, key=lambda name: stable_hash("a", 1, name))
