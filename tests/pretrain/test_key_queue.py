import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.pretrain.key_queue import KeyQueue


def test_it_starts_with_random_rows_of_unit_length():
    torch.manual_seed(1)
    one = KeyQueue(5, 2, 4)
    torch.manual_seed(1)
    assert torch.equal(one.rows, KeyQueue(5, 2, 4).rows)
    torch.testing.assert_close(one.rows.norm(dim=-1), torch.ones(5, 2))
    assert not torch.equal(one.rows, KeyQueue(5, 2, 4).rows)
    assert not one.full()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.lists(st.integers(1, 20), max_size=6))
def test_it_holds_the_last_rows_whatever_the_sizes(size, counts):
    queue = KeyQueue(size, 1)
    entered = torch.empty(0, 1)
    first = queue.rows.clone()
    for count in counts:
        rows = torch.arange(len(entered), len(entered) + count).float()[:, None]
        queue.add(rows)
        entered = torch.cat([entered, rows])
    assert int(queue.added) == len(entered)
    assert queue.full() == (len(entered) >= size)
    for place in range(size):
        newest = [row for row in entered[-size:] if int(row) % size == place]
        assert torch.equal(queue.rows[place], newest[0] if newest else first[place])


def test_it_is_saved_and_goes_on():
    one, other = KeyQueue(3, 2), KeyQueue(3, 2)
    one.add(torch.rand(2, 2))
    other.load_state_dict(one.state_dict())
    rows = torch.rand(2, 2)
    one.add(rows)
    other.add(rows)
    assert torch.equal(one.rows, other.rows)
    assert int(other.added) == 4
