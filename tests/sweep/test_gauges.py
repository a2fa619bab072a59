from pathlib import Path

import pytest

from raysweep.sweep import gauges
from raysweep.sweep.board import Board
from tests.sweep.driven import EVALUATION, Driven


class _Recorder:
    def __init__(self, name: str, about: str, tags: tuple[str, ...]) -> None:
        self.name, self.tags, self.seen = name, tags, []
        self.inc = self.set = lambda value, tags: self.seen.append((value, *tags.values()))


def test_trials_and_the_best_of_each_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges, "Counter", _Recorder)
    monkeypatch.setattr(gauges, "Gauge", _Recorder)
    drive = Driven(tmp_path, 2, "ab")
    made = gauges.Gauges()
    drive.board = Board(drive.lanes, drive._finish, drive.board._stage, 2, told=made.told)
    assert [drive.start(), drive.start()] == ["a0 trial 0", "b0 trial 0"]
    drive.say("a0 trial 0")
    drive.say("b0 trial 0", evaluation=None, failed="nan")
    drive.search("a0 trial 1")
    assert drive.start() == "b0 trial 1"
    drive.say("b0 trial 1", evaluation=EVALUATION | {"val_loss": 0.05})
    a, b = "a/toy-task/toy/1", "b/toy-task/toy/1"
    assert (made._trials.name, made._best.name) == ("raysweep_tune_trials", "raysweep_tune_best")  # type: ignore
    assert made._trials.seen == [(1, a, "done"), (1, b, "failed"), (1, a, "done"), (1, b, "done")]  # type: ignore
    assert made._best.seen == [(0.1, a), (0.05, b)]  # type: ignore  # only what is better than before; losses
