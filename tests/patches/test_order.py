import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.errors import RequestError
from raysweep.patches.order import Order

rows_of_groups = st.lists(st.integers(0, 40), min_size=1, max_size=30).filter(lambda rows: sum(rows) > 0)


def epoch_of(order: Order, epoch: int) -> np.ndarray:
    return np.concatenate([order.places(epoch, step) for step in range(order.steps)])


@settings(max_examples=60, deadline=None)
@given(rows=rows_of_groups, batch=st.integers(1, 64), seed=st.integers(0, 9), epoch=st.integers(0, 3))
def test_an_epoch_passes_at_most_once_over_each_row(rows, batch, seed, epoch):
    batch = min(batch, sum(rows))
    order = Order(rows, batch=batch, seed=seed)
    places = epoch_of(order, epoch)
    assert len(np.unique(places, axis=0)) == len(places) == sum(rows) // batch * batch
    assert (places[:, 1] >= 0).all()
    assert (places[:, 1] < np.asarray(rows)[places[:, 0]]).all()


@settings(max_examples=60, deadline=None)
@given(rows=rows_of_groups, parts=st.integers(1, 7), per_part=st.integers(1, 20), step=st.integers(0, 5))
def test_slices_of_the_ranks_make_the_global_batch(rows, parts, per_part, step):
    batch = parts * per_part
    if sum(rows) < batch:
        rows = [*rows, batch]
    order = Order(rows, batch=batch, seed=3)
    step = min(step, order.steps - 1)
    ranks = [Order(rows, batch=batch, seed=3).places(1, step, r * per_part, (r + 1) * per_part) for r in range(parts)]
    np.testing.assert_array_equal(np.concatenate(ranks), order.places(1, step))


def test_a_step_does_not_depend_on_what_was_asked_before():
    rows = [128] * 9 + [5]
    fresh = Order(rows, batch=48, seed=1).places(4, 7)
    used = Order(rows, batch=48, seed=1)
    epoch_of(used, 2)
    epoch_of(used, 4)
    np.testing.assert_array_equal(used.places(4, 7), fresh)


def test_epochs_and_seeds_differ_in_order_and_in_what_they_leave_out():
    order = Order([50], batch=16, seed=0)
    epochs = [epoch_of(order, epoch) for epoch in range(8)]
    left = [frozenset(range(50)) - set(places[:, 1].tolist()) for places in epochs]
    assert all(len(rest) == 2 for rest in left)
    assert len(set(left)) > 4
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[0], epoch_of(Order([50], batch=16, seed=1), 0))


def test_rows_that_stand_together_are_spread_over_the_epoch():
    order = Order([128] * 64, batch=64, seed=0)
    places = epoch_of(order, 0)
    steps = np.arange(len(places)) // 64
    spread = [np.ptp(steps[places[:, 0] == group]) for group in range(64)]
    assert np.median(spread) > 16  # of 128 steps: a lane's window is 4 of its 16 row groups
    assert np.median([len(np.unique(places[steps == step, 0])) for step in range(128)]) >= 8


@pytest.mark.parametrize("groups", [32, 256])
def test_the_ranks_share_the_reading_whatever_the_size(groups):
    """Each rank reads its part of the row groups, and a few at the edges of its lanes: no more as the set grows."""
    order, ranks = Order([128] * groups, batch=256, seed=0), 4
    for rank in range(ranks):
        places = np.concatenate([order.places(0, step, rank * 64, rank * 64 + 64) for step in range(order.steps)])
        assert len(np.unique(places[:, 0])) <= groups / ranks + 5


def test_row_groups_held_at_once_are_bounded():
    order = Order([128] * 300, batch=64, seed=0)
    for step in range(order.steps):
        assert len(np.unique(order.places(0, step, 16, 48)[:, 0])) <= order.groups_to_keep(16, 48)


def test_fewer_rows_than_a_batch_are_refused():
    with pytest.raises(RequestError, match="batch: 64 patches make a step but there are only 63"):
        Order([60, 3], batch=64, seed=0)
