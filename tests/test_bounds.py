"""How much memory a file may take."""

import pytest

from raysweep.bounds import check_room
from raysweep.errors import WorkError


def test_what_takes_half_of_the_memory_is_refused() -> None:
    check_room(2**20, "a.json")
    with pytest.raises(WorkError, match=r"^a\.json: to read it takes about [\d.]+ GiB of memory, more than half of"):
        check_room(2**60, "a.json")
