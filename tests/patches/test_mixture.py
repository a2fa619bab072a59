import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.errors import RequestError
from raysweep.patches.mixture import Mixture
from raysweep.patches.order import Order

SOURCES = [[40, 64, 0, 7], [5], [256, 100]]


def test_one_source_is_passed_over_as_its_order_says():
    alone, order = Mixture([SOURCES[0]], [3.0], batch=16, seed=1), Order(SOURCES[0], batch=16, seed=1)
    assert alone.steps == order.steps
    assert np.array_equal(alone.places(2, 1)[:, 1:], order.places(2, 1))
    assert not alone.places(2, 1)[:, 0].any()


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 9), st.integers(0, 13), st.lists(st.integers(0, 32), min_size=2, max_size=5))
def test_slices_and_the_order_of_asking_change_nothing(epoch, step, cuts):
    whole = Mixture(SOURCES, [1, 1, 2], batch=32, seed=4).places(epoch, step)
    asked = Mixture(SOURCES, [1, 1, 2], batch=32, seed=4)
    asked.places(epoch + 1, 0)
    edges = sorted({0, 32, *cuts})
    parts = [asked.places(epoch, step, a, b) for a, b in itertools.pairwise(edges)]
    assert np.array_equal(whole, np.concatenate(parts))


def test_blocks_follow_each_other_as_one_draw_would(monkeypatch):
    monkeypatch.setattr("raysweep.patches.mixture._BLOCK", 3 * 32)  # three steps, so that an epoch has five blocks
    mixture = Mixture(SOURCES, [1, 1, 2], batch=32, seed=4)
    whole = [mixture.places(0, step) for step in range(mixture.steps)]
    resumed = Mixture(SOURCES, [1, 1, 2], batch=32, seed=4)
    assert np.array_equal(resumed.places(0, mixture.steps - 1), whole[-1])
    assert np.array_equal(resumed.places(0, 4), whole[4])
    large = Mixture([[500], [500]], [1, 1], batch=10, seed=3)
    places = np.concatenate([large.places(0, step) for step in range(50)])
    assert len(np.unique(places, axis=0)) == len(places)  # a lane goes on where the block before it ended
    with pytest.raises(IndexError, match="step 14 of an epoch of 14"):
        mixture.places(0, mixture.steps)


def test_sources_come_by_weight_and_rows_of_a_source_equally_often():
    mixture = Mixture(SOURCES, [1, 1, 2], batch=32, seed=0)
    places = np.concatenate([mixture.places(e, s) for e in range(40) for s in range(mixture.steps)])
    shares = np.bincount(places[:, 0]) / len(places)
    assert shares == pytest.approx([0.25, 0.25, 0.5], abs=0.02)
    for source, rows in enumerate(SOURCES):
        own = places[places[:, 0] == source]
        seen = np.unique(own[:, 1:], axis=0, return_counts=True)[1]
        assert len(seen) == sum(rows)  # every row is reached
        assert all(0 <= row < rows[group] for _, group, row in own)
        assert seen.max() <= 2.5 * seen.mean()


def test_within_an_epoch_a_large_source_shows_no_row_twice():
    mixture = Mixture([[5000], [5000]], [1, 1], batch=50, seed=3)
    places = np.concatenate([mixture.places(0, s) for s in range(100)])  # half of each source
    assert len(np.unique(places, axis=0)) == len(places)


def test_too_few_rows():
    with pytest.raises(RequestError, match="batch: 64 patches make a step but there are only 9"):
        Mixture([[4], [5]], [1, 1], batch=64, seed=0)
