"""Several runs search the cells of one study together: each repeat is one's at a time, and what is left goes on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from raysweep.lease import Claims, sharing
from raysweep.storage import Storage
from tests.sweep.driven import TRANSFER, Driven
from tests.sweep.toy import events


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Claims, Claims]]:
    """The claims of two runs of a study."""
    home = Storage.open(tmp_path / "toys")
    with sharing(home) as one, sharing(home) as other:
        yield one, other


def test_each_repeat_is_the_work_of_one(tmp_path: Path, two: tuple[Claims, Claims]) -> None:
    one, other = (Driven(tmp_path, checkpoints="abc", claims=claims) for claims in two)
    assert one.start() == "a0 trial 0"
    assert other.start() == "b0 trial 0"
    one.say("a0 trial 0")
    one.search("a0 trial 1")
    assert one.start() == "a0 final"
    one.final("a0 final")
    other.say("b0 trial 0")
    other.search("b0 trial 1")
    assert one.start() == "c0 trial 0"  # what is nobody's
    assert other.start() == "b0 final"
    other.final("b0 final")
    assert other.start() is None
    assert other.board.done
    one.say("c0 trial 0")
    one.search("c0 trial 1")
    assert one.start() == "c0 final"
    one.final("c0 final")
    assert one.board.done
    assert (one.finished, other.finished) == (["a0", "c0"], ["b0"])
    assert {Path(root).parts[-6] for root in one.board.others} == {"b"}
    assert {Path(root).parts[-6] for root in other.board.others} == {"a", "c"}
    asked = [[e["trial"] for e in events(cell) if e["event"] == "asked" and "trial" in e] for cell in one.cells]
    assert asked == [[0, 1]] * 3


def test_what_one_gives_up_the_other_goes_on_with(tmp_path: Path, two: tuple[Claims, Claims]) -> None:
    one = Driven(tmp_path, checkpoints="a", claims=two[0])
    other = Driven(tmp_path, checkpoints="a", claims=two[1])  # opened before anything is on record
    one.search("a0 trial 0")
    one.board.let_go()
    other.search("a0 trial 1")
    assert other.start() == "a0 final"
    other.final("a0 final")
    assert other.finished == ["a0"]
    assert other.lanes[0].history.counts()["done"] == 2


def test_of_one_search_for_all_repeats_all_are_the_work_of_one(tmp_path: Path, two: tuple[Claims, Claims]) -> None:
    once = TRANSFER.model_copy(update={"search": "once", "repeats": 2})
    one, other = (Driven(tmp_path, checkpoints="ab", transfer=once, claims=claims) for claims in two)
    one.search("a0 trial 0")
    other.search("b0 trial 0", "b0 trial 1")
    assert other.start() == "b0 final"
    other.final("b0 final")
    assert other.start() == "b1 final"
    other.final("b1 final")
    assert other.start() is None
    assert other.board.done
    for repeat in other.cells[1].repeats:
        repeat.artefact.commit(config={}, counts={}, timings={})
    one.search("a0 trial 1")
    for final in ("a0 final", "a1 final"):
        assert one.start() == final
        one.final(final)
    assert one.start() is None
    assert one.board.done
    assert (one.finished, other.finished) == (["a0", "a1"], ["b0", "b1"])


def test_a_repeat_that_was_finished_meanwhile_is_not_begun(tmp_path: Path, two: tuple[Claims, Claims]) -> None:
    one, other = (Driven(tmp_path, checkpoints="a", claims=claims) for claims in two)
    one.search("a0 trial 0", "a0 trial 1")
    assert one.start() == "a0 final"
    one.final("a0 final")
    repeat = one.cells[0].repeats[0]
    repeat.artefact.commit(config={}, counts={}, timings={})
    assert other.start() is None
    assert other.board.done
    assert other.finished == []
    assert other.board.others == set()
