import threading

import pytest

from raysweep.transfer.ahead import ahead


def test_results_come_in_the_order_of_the_items() -> None:
    first = threading.Event()

    def make(item: int) -> int:
        if item == 0:
            assert first.wait(10)  # item 1 is made before it
        else:
            first.set()
        return item * item

    assert list(ahead(make, range(7), threads=2)) == [i * i for i in range(7)]


@pytest.mark.parametrize("threads", [1, 3])
def test_no_more_than_the_next_few_are_made(threads: int) -> None:
    made: list[int] = []
    results = ahead(lambda item: made.append(item) or item, range(20), threads=threads)
    for asked in range(3):
        assert next(results) == asked
        assert max(made, default=0) <= asked + threads
    results.close()
    assert len(made) <= 3 + threads
    assert not [t for t in threading.enumerate() if t.name.startswith("ahead")]


def test_an_error_comes_where_its_item_would_have() -> None:
    results = ahead(lambda item: 1 // item, [1, 1, 0, 1], threads=3)
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
