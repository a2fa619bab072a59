"""Dealing units to groups: shares, missing classes, and every unit once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.tasks.partition import partition


def held(counts, group, n):
    return np.stack([counts[group == g].sum(axis=0) for g in range(n)])


@settings(max_examples=60, deadline=None)
@given(st.integers(8, 40), st.integers(2, 4), st.integers(0, 10_000))
def test_every_group_gets_units_and_its_share(n_units, groups, seed):
    rng = np.random.default_rng(seed)
    counts = np.zeros((n_units, 2), np.int64)
    counts[np.arange(n_units), np.arange(n_units) % 2] = rng.integers(1, 4, n_units)
    group = partition(counts, [1 / groups] * groups)
    assert group.shape == (n_units,)
    got = held(counts, group, groups)
    assert (got > 0).all(), "each class has at least as many units as there are groups"
    largest = counts.max(axis=0)
    assert (np.abs(got - counts.sum(axis=0) / groups) <= 2 * largest).all()


def test_unequal_shares():
    counts = np.ones((100, 1), np.int64)
    group = partition(counts, [0.7, 0.2, 0.1])
    assert np.bincount(group).tolist() == [70, 20, 10]


def test_swaps_find_what_dealing_in_order_misses():
    # dealt in this order the two large units come last and cannot be separated from their class by one move
    counts = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [6, 0], [6, 0], [0, 6], [0, 6]])
    got = held(counts, partition(counts, [0.5, 0.5]), 2)
    assert got.tolist() == [[7, 7], [7, 7]]


@pytest.mark.parametrize("n_units", [50, 3000])
def test_large_and_small_pools_are_even(n_units):
    rng = np.random.default_rng(0)
    counts = np.zeros((n_units, 3), np.int64)
    counts[np.arange(n_units), rng.integers(0, 3, n_units)] = rng.geometric(0.2, n_units)
    got = held(counts, partition(counts, [0.25] * 4), 4) / counts.sum(axis=0)
    assert np.abs(got - 0.25).max() < 0.03


def test_a_class_in_one_unit_stays_in_the_larger_group():
    counts = np.array([[3, 0]] * 9 + [[0, 2]])
    for at in range(10):
        order = np.roll(np.arange(10), at)
        assert partition(counts[order], [0.8, 0.2])[np.argmax(order == 9)] == 0


def test_a_class_in_every_group_counts_more_than_even_groups():
    counts = np.array([[1, 10, 10, 10, 10, 10], [1, 10, 10, 10, 10, 10], [0, 20, 20, 20, 20, 20]])
    group = partition(counts, [0.5, 0.5])
    assert group[0] != group[1], "together they would balance the third unit and leave a group without the class"
