"""What starts next, and when a repeat is finished."""

from pathlib import Path

from raysweep.sweep.state import repeat_state
from raysweep.transfer.spec import TransferSpec
from tests.sweep.driven import TRANSFER, Driven

ONCE = TransferSpec(trials=2, repeats=3, steps=10, evaluations=1, search="once")


def test_lanes_in_order_one_trial_of_each_and_finals_before_trials_of_later_lanes(tmp_path: Path) -> None:
    drive = Driven(tmp_path, places=2)
    assert [drive.start() for _ in range(3)] == ["a0 trial 0", "b0 trial 0", None]
    drive.say("a0 trial 0")
    assert drive.start() == "a0 trial 1"
    drive.say("a0 trial 1")
    drive.say("b0 trial 0")
    # two searches are left for two places: they are chains and go first
    assert [drive.start() for _ in range(3)] == ["b0 trial 1", "c0 trial 0", None]
    drive.say("b0 trial 1")
    assert drive.start() == "a0 final"
    drive.say("c0 trial 0")
    assert drive.start() == "c0 trial 1"
    drive.final("a0 final")
    assert drive.finished == ["a0"]
    assert drive.start() == "b0 final"
    assert not drive.board.done
    drive.say("c0 trial 1")
    assert drive.start() == "c0 final"
    drive.final("b0 final")
    drive.final("c0 final")
    assert drive.finished == ["a0", "b0", "c0"]
    assert drive.board.done
    assert drive.board.failed == {}


def test_finals_come_first_while_there_are_more_searches_than_places(tmp_path: Path) -> None:
    drive = Driven(tmp_path)
    drive.search("a0 trial 0", "a0 trial 1")
    assert [drive.start(), drive.start()] == ["a0 final", None]


def test_repeat_0_of_every_cell_comes_before_repeat_1(tmp_path: Path) -> None:
    drive = Driven(tmp_path, 9, checkpoints="ab", transfer=TRANSFER.model_copy(update={"repeats": 2}))
    assert [drive.start() for _ in range(5)] == ["a0 trial 0", "b0 trial 0", "a1 trial 0", "b1 trial 0", None]


def test_a_repeat_is_finished_when_all_its_folds_are(tmp_path: Path) -> None:
    drive = Driven(tmp_path, 2, checkpoints="a", folds=2)
    assert [drive.start(), drive.start()] == ["a0/0 trial 0", "a0/1 trial 0"]
    drive.say("a0/0 trial 0")
    drive.say("a0/1 trial 0")
    assert [drive.start(), drive.start()] == ["a0/0 trial 1", "a0/1 trial 1"]
    drive.say("a0/1 trial 1")
    assert drive.start() == "a0/1 final"
    drive.final("a0/1 final")
    assert drive.finished == []
    drive.say("a0/0 trial 1")
    assert drive.start() == "a0/0 final"
    drive.final("a0/0 final")
    assert drive.finished == ["a0"]


def test_with_one_search_the_others_wait_for_it_and_are_given_up_with_it(tmp_path: Path) -> None:
    drive = Driven(tmp_path, 3, checkpoints="ab", transfer=ONCE)
    assert [drive.start() for _ in range(3)] == ["a0 trial 0", "b0 trial 0", None]
    drive.say("a0 trial 0", evaluation=None, refused="no")
    waiting = "the search of repeat 0 serves all and failed: trial 0: no"
    assert drive.board.failed == {f"a/toy-task/toy/1 repeat {r}": waiting if r else "trial 0: no" for r in range(3)}
    assert repeat_state(drive.cells[0].repeats[2].artefact.folder).reason == waiting
    drive.say("b0 trial 0")
    drive.search("b0 trial 1")
    assert [drive.start() for _ in range(4)] == ["b0 final", "b1 final", "b2 final", None]


def test_once_the_search_has_ended_the_others_need_nothing_of_repeat_0(tmp_path: Path) -> None:
    drive = Driven(tmp_path, checkpoints="a", transfer=ONCE)
    drive.search("a0 trial 0", "a0 trial 1")
    assert drive.start() == "a0 final"
    drive.say("a0 final", evaluation=None, refused="no")
    assert list(drive.board.failed) == ["a/toy-task/toy/1 repeat 0"]
    for name in ("a1 final", "a2 final"):
        assert drive.start() == name
        drive.final(name)
    assert drive.finished == ["a1", "a2"]


def test_a_final_that_diverged_is_done_and_its_reason_is_shown(tmp_path: Path) -> None:
    drive = Driven(tmp_path, checkpoints="a")
    drive.search("a0 trial 0", "a0 trial 1")
    assert drive.start() == "a0 final"
    drive.final("a0 final", reason="the loss is nan")
    assert drive.finished == ["a0"]
    assert drive.board.failed == {}
    assert drive.notes == ["a/toy-task/toy/1 repeat 0: final failed (the loss is nan)"]
    assert drive.lanes[0].failure() == "the loss is nan"


def test_a_repeat_that_cannot_be_finished_is_repeated_by_the_next_run(tmp_path: Path) -> None:
    def full(*_) -> None:
        raise OSError("no space left on device")

    drive = Driven(tmp_path, checkpoints="a")
    drive.search("a0 trial 0", "a0 trial 1")
    assert drive.start() == "a0 final"
    drive.board._finish = full
    drive.final("a0 final")
    assert drive.board.failed == {"a/toy-task/toy/1 repeat 0": "OSError: no space left on device"}
    again = Driven(tmp_path, checkpoints="a")  # everything is on record
    assert again.finished == ["a0"]
    assert again.board.done
