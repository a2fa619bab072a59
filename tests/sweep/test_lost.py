"""What becomes of attempts that are lost, refused or dead: none of them counts against a setting."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from raysweep.sweep.board import ATTEMPTS
from raysweep.sweep.state import repeat_state
from raysweep.transfer.spec import TransferSpec
from tests.sweep.driven import GONE, TRANSFER, TRIAL, Driven
from tests.sweep.toy import Killed, events, outcome, simulate, toy_cells


def test_an_attempt_that_is_lost_again_and_again_gives_its_repeat_up_for_this_run_only(tmp_path: Path) -> None:
    drive = Driven(tmp_path, checkpoints="a")
    for _ in range(ATTEMPTS):
        assert drive.start() == "a0 trial 0"
        drive.lose("a0 trial 0")
    assert ATTEMPTS == 4
    reason = f"trial 0: 4 attempts were lost, the last: {GONE}; run again"
    assert drive.board.failed == {"a/toy-task/toy/1 repeat 0": reason}
    assert drive.board.done
    assert drive.start() is None
    assert drive.finished == []
    assert [e["event"] for e in events(drive.cells[0])] == ["opened", *["asked", "lost"] * 4]
    assert {e["reason"] for e in events(drive.cells[0]) if e["event"] == "lost"} == {GONE}
    params = [e["params"] for e in events(drive.cells[0]) if e["event"] == "asked"]
    assert params == params[:1] * 4
    state = repeat_state(drive.cells[0].repeats[0].artefact.folder)
    assert (state.status, state.reason, state.failed, state.running) == ("failed", reason, 0, 1)
    assert len(drive.notes) == 4
    assert drive.notes[0] == f"a/toy-task/toy/1 repeat 0: trial 0 is tried again ({GONE})"

    again = Driven(tmp_path, checkpoints="a")
    assert not again.cells[0].repeats[0].artefact.folder.exists("failed.json")
    for _ in range(ATTEMPTS - 1):  # counted anew
        assert again.start() == "a0 trial 0"
        again.lose("a0 trial 0")
    again.search("a0 trial 0", "a0 trial 1")
    assert again.start() == "a0 final"
    again.final("a0 final")
    assert again.finished == ["a0"]
    assert again.lanes[0].history.counts() == {"done": 2, "pruned": 0, "failed": 0, "asked": 0}


def test_deaths_and_errors_of_the_place_count_together(tmp_path: Path) -> None:
    drive = Driven(tmp_path, checkpoints="a")
    for lose in (drive.die, drive.lose, drive.lose, drive.die):
        assert drive.start() == "a0 trial 0"
        lose("a0 trial 0")
    (reason,) = drive.board.failed.values()
    assert reason == "trial 0: 4 attempts were lost, the last: its process died: out of memory; run again"
    died = "its process died: out of memory"
    assert [e["reason"] for e in events(drive.cells[0]) if e["event"] == "lost"] == [died, GONE, GONE, died]


def test_each_trial_and_the_final_have_attempts_of_their_own(tmp_path: Path) -> None:
    drive = Driven(tmp_path, checkpoints="a")
    for name in ("a0 trial 0", "a0 trial 1"):
        for _ in range(ATTEMPTS - 1):
            assert drive.start() == name
            drive.lose(name)
        drive.search(name)
    for _ in range(ATTEMPTS):
        assert drive.start() == "a0 final"
        drive.lose("a0 final")
    (reason,) = drive.board.failed.values()
    assert reason.startswith("final: 4 attempts were lost, the last: ")
    again = Driven(tmp_path, checkpoints="a")
    assert again.start() == "a0 final"  # its search is not repeated


def test_lanes_that_lost_go_behind_the_others(tmp_path: Path) -> None:
    drive = Driven(tmp_path, checkpoints="ab")
    assert drive.start() == "a0 trial 0"
    drive.lose("a0 trial 0")
    drive.search("b0 trial 0", "b0 trial 1")
    assert drive.start() == "b0 final"
    drive.lose("b0 final")
    assert drive.start() == "a0 trial 0"  # as many losses each: trials come first, towards the end
    drive.lose("a0 trial 0")
    assert drive.start() == "b0 final"
    drive.final("b0 final")
    assert drive.start() == "a0 trial 0"


def test_what_cannot_be_helped_by_trying_again_gives_the_repeat_up_at_once(tmp_path: Path) -> None:
    drive = Driven(tmp_path, checkpoints="ab", folds=2)
    assert drive.start() == "a0/0 trial 0"
    drive.say("a0/0 trial 0", evaluation=None, refused="the backbone cannot take images of 32 px")
    reason = "trial 0 of fold 0: the backbone cannot take images of 32 px"
    assert drive.board.failed == {"a/toy-task/toy/1 repeat 0": reason}
    assert [e["event"] for e in events(drive.cells[0])] == ["opened", "asked"]
    assert drive.start() == "b0/0 trial 0"  # fold 1 of the repeat does not start


def test_what_others_do_for_a_repeat_that_was_given_up_changes_nothing(tmp_path: Path) -> None:
    drive = Driven(tmp_path, 2, checkpoints="a", folds=3)
    assert [drive.start(), drive.start()] == ["a0/0 trial 0", "a0/1 trial 0"]
    drive.say("a0/0 trial 0", evaluation=None, refused="no")
    assert drive.start() is None
    assert not drive.board.done
    drive.say("a0/1 trial 0")
    assert [e["event"] for e in events(drive.cells[0], fold=1)] == ["opened", "asked"]
    assert drive.board.done
    again = Driven(tmp_path, 2, checkpoints="a", folds=3)
    assert [again.start(), again.start()] == ["a0/0 trial 0", "a0/1 trial 0"]
    again.say("a0/0 trial 0", evaluation=None, refused="no")
    again.die("a0/1 trial 0")
    assert again.board.done
    assert len(again.board.failed) == 1
    assert len(again.notes) == 1  # nothing is tried again


def test_a_death_after_the_end_changes_nothing(tmp_path: Path) -> None:
    drive = Driven(tmp_path)
    assert drive.start() == "a0 trial 0"
    assert drive.board.result("0", TRIAL)
    drive.die("a0 trial 0", "killed while it was stopped")
    assert len(drive.lanes[0].history.trials[0].evaluations) == 1
    assert drive.lanes[0].losses.total() == 0
    assert drive.start() == "a0 trial 1"


def test_a_death_after_a_loss_was_said_counts_once(tmp_path: Path) -> None:
    drive = Driven(tmp_path)
    assert drive.start() == "a0 trial 0"
    assert drive.board.result("0", TRIAL | {"evaluation": None, "lost": GONE})
    drive.die("a0 trial 0")
    assert drive.lanes[0].losses == {0: 1}


@pytest.mark.parametrize("dies", [False, True])
def test_what_was_lost_starts_again_before_its_first_actor_is_free(tmp_path: Path, dies: bool) -> None:
    drive = Driven(tmp_path, places=2, checkpoints="a")
    assert drive.start() == "a0 trial 0"
    key, lane = drive.working.pop("a0 trial 0")
    assert drive.board.result(key, TRIAL | {"evaluation": None, "lost": GONE})
    assert drive.start() == "a0 trial 0"
    if dies:
        drive.board.lost(key, "killed")
    else:
        drive.board.release(key)
    assert drive.start() is None  # the second attempt is under way
    assert lane.losses == {0: 1}
    drive.say("a0 trial 0")
    drive.search("a0 trial 1")


NEEDY = TransferSpec(trials=7, repeats=2, steps=40, evaluations=3)


def _needy(folder: Path, file: Path) -> Callable[[], list]:
    return lambda: toy_cells(folder, NEEDY, folds=2, fails_above=0.03, needs=str(file))


@pytest.mark.parametrize("moment", [0, 40, 150])
def test_data_that_is_away_for_a_while_leaves_no_trace(tmp_path: Path, moment: int) -> None:
    """Away from the beginning, or from some moment on: the settings are not to blame."""
    data, away = tmp_path / "data", tmp_path / "away"
    data.touch()
    calm, cells = _needy(tmp_path / "calm", data), _needy(tmp_path / "study", data)
    simulate(calm(), NEEDY)
    undisturbed = outcome(calm())
    with pytest.raises(Killed):
        simulate(cells(), NEEDY, events=moment)
    data.rename(away)
    for _ in range(2):
        failed = simulate(cells(), NEEDY, at_once=3)
        left = [r for cell in cells() for r in cell.repeats if not r.artefact.done()]
        assert len(failed) == len(left) >= (1 if moment else 4)
        for reason in failed.values():
            assert "4 attempts were lost, the last: " in reason
            assert f"FileNotFoundError: {data} is gone; run again" in reason
        for repeat in left:
            told = [json.loads(line) for file in Path(repeat.artefact.folder.root).glob("journal/*.jsonl")
                    for line in file.read_text().splitlines()]  # fmt: skip
            assert not any("gone" in e["reason"] for e in told if e["event"] == "told")
            assert any("gone" in e["reason"] for e in told if e["event"] == "lost")
    away.rename(data)
    assert simulate(cells(), NEEDY, at_once=3) == {}
    assert outcome(cells()) == undisturbed


def test_a_note_of_failure_goes_when_the_repeat_succeeds(tmp_path: Path) -> None:
    cells = toy_cells(tmp_path, TRANSFER, checkpoints="a")
    folder = cells[0].repeats[0].artefact.folder
    folder.write_json({"reason": "an earlier run"}, "failed.json")
    assert simulate(cells, TRANSFER) == {}
    assert not folder.exists("failed.json")
