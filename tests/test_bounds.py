import pytest

from raysweep import bounds
from raysweep.bounds import bounded, check_room
from raysweep.errors import WorkError


def test_what_takes_half_of_the_memory_is_refused() -> None:
    check_room(2**20, "a.json")
    with pytest.raises(WorkError, match=r"^a\.json: to read it takes about [\d.]+ GiB of memory, more than half of"):
        check_room(2**60, "a.json")


def test_rows_are_counted_with_their_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_CELLS", 100)
    assert list(bounded(range(11), 10)) == list(range(11))
    with pytest.raises(WorkError, match="it has more than 100 cells"):
        list(bounded(range(12), 10))
