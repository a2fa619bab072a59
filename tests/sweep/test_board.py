"""What starts next, and what becomes of attempts that are lost, refused or dead."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from raysweep.progress import Progress
from raysweep.sweep import run
from raysweep.sweep.board import ATTEMPTS, Board
from raysweep.sweep.lane import Lane
from raysweep.sweep.state import repeat_state
from raysweep.transfer.spec import TransferSpec
from tests.sweep.toy import Killed, events, outcome, simulate, toy_cells

TRANSFER = TransferSpec(trials=2, repeats=1, steps=10, evaluations=1)
ONCE = TransferSpec(trials=2, repeats=3, steps=10, evaluations=1, search="once")
EVALUATION = {"step": 10, "train_loss": 0.0, "val_loss": 0.1, "val_metric": 0.5}
TRIAL = {"evaluation": EVALUATION, "seconds": 1.0, "last": True, "failed": "", "lost": "", "refused": "", "final": None}
GONE = "FileNotFoundError: 3.png"


class Driven:
    """A board with somebody at work: keys are given out in order, and what is said is up to the test."""

    def __init__(self, folder: Path, places: int = 1, checkpoints: str = "abc", transfer=TRANSFER, folds=1) -> None:
        self.cells = toy_cells(folder, transfer, checkpoints=checkpoints, folds=folds)
        _, self.lanes, broken = run.open_lanes(self.cells, transfer, 0, "/nowhere")
        assert not broken
        self.finished: list[str] = []
        self.notes: list[str] = []
        with Progress(quiet=True).stage("search", None, "trials") as stage:
            stage.note = self.notes.append  # type: ignore[method-assign]
            self.board = Board(self.lanes, self._finish, stage, places)
        self.working: dict[str, tuple[str, Lane]] = {}  # what started and has not ended
        self._keys = iter(map(str, range(1000)))

    def _finish(self, cell, repeat, lanes) -> None:
        self.finished.append(f"{cell.checkpoint}{repeat.number}")

    def start(self) -> str | None:
        """What starts now, such as `a0 trial 1`; with folds `a0/1 trial 1`."""
        key = next(self._keys)
        given = self.board.start(key)
        if given is None:
            return None
        lane, work = given
        fold = f"/{lane.fold}" if lane.folds > 1 else ""
        name = f"{lane.cell.checkpoint}{lane.repeat.number}{fold} {work.kind}"
        name += f" {work.number}" if work.kind == "trial" else ""
        assert name not in self.working
        self.working[name] = key, lane
        return name

    def say(self, name: str, **said) -> None:
        """Its actor says something that ends it."""
        key, _ = self.working.pop(name)
        assert self.board.result(key, TRIAL | said)
        self.board.release(key)

    def lose(self, name: str) -> None:
        self.say(name, evaluation=None, lost=GONE)

    def die(self, name: str, reason: str = "out of memory") -> None:
        key, _ = self.working.pop(name)
        self.board.lost(key, reason)

    def final(self, name: str, reason: str = "") -> None:
        """The final is done, with a prediction file or a reason."""
        _, lane = self.working[name]
        file = "" if reason else f"parts/fold{lane.fold}.parquet"
        if file:
            lane.repeat.artefact.folder.write_bytes(b"", *file.split("/"))
        self.say(name, final={"params": {}, "evaluations": [], "predictions": file, "reason": reason, "seconds": 1.0})

    def search(self, *names: str) -> None:
        """These trials start, in this order, and train to their end."""
        for name in names:
            assert self.start() == name
            self.say(name)


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
