"""A run that ends early because it was told to, and the next one that goes on."""

from pathlib import Path

import pytest

from raysweep.progress import Progress
from raysweep.sweep import run
from raysweep.sweep.board import Board
from raysweep.sweep.run import Limits
from raysweep.transfer.spec import TransferSpec
from tests.sweep.driven import Driven
from tests.sweep.toy import outcome, simulate, toy_cells, toy_search

TRANSFER = TransferSpec(trials=4, repeats=2, steps=10, evaluations=1)


def _limited(drive: Driven, trials: int) -> None:
    with Progress(quiet=True).stage("search", None, "trials") as stage:
        drive.board = Board(drive.lanes, drive._finish, stage, 2, stop=run._stop(Limits(trials=trials)))


def test_no_further_trial_starts_but_searches_that_ended_get_their_finals(tmp_path: Path) -> None:
    drive = Driven(tmp_path, places=2, checkpoints="ab")
    _limited(drive, 3)
    assert [drive.start(), drive.start()] == ["a0 trial 0", "b0 trial 0"]
    drive.say("a0 trial 0")
    assert drive.start() == "a0 trial 1"
    assert drive.board.stopped
    drive.say("b0 trial 0")
    assert drive.start() is None
    assert not drive.board.done
    drive.say("a0 trial 1")
    assert not drive.board.done
    assert drive.start() == "a0 final"
    assert drive.start() is None
    drive.final("a0 final")
    assert drive.board.done
    assert drive.board.left == ["b/toy-task/toy/1 repeat 0"]
    assert drive.board.failed == {}
    again = Driven(tmp_path, places=1, checkpoints="b")
    again.search("b0 trial 1")
    assert again.start() == "b0 final"


def test_hours_are_counted_from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [50.0]
    monkeypatch.setattr(run.time, "monotonic", lambda: now[0])
    stop = run._stop(Limits(hours=0.5))
    never = run._stop(Limits())
    for now[0], expected in ((50.0, False), (50 + 1799.0, False), (50 + 1800.0, True)):
        assert stop(10**6) is expected
        assert never(10**6) is False


@pytest.mark.slow
def test_runs_with_limits_and_experiments_cut_short_end_where_one_run_does(
    tmp_path: Path, ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each Tune experiment takes two pieces of work at most, and the run stops after three trials; another goes on."""
    calm = toy_cells(tmp_path / "calm", TRANSFER, checkpoints="a")
    assert simulate(calm, TRANSFER) == {}
    monkeypatch.setattr(run, "_MOST_OF_TUNE", 2)
    cells = toy_cells(tmp_path, TRANSFER, checkpoints="a")
    scratch = tmp_path / "scratch"
    found = toy_search(cells, TRANSFER, scratch=scratch, limits=Limits(trials=3))
    assert found.failed == []
    assert len(found.left) == sum(not r.artefact.done() for c in cells for r in c.repeats) == 2
    assert simulate(cells, TRANSFER) == {}  # a further run under Ray: see `test_run.py`
    assert outcome(cells) == outcome(calm)
    assert list(scratch.iterdir()) == []
