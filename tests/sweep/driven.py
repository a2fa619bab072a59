"""A board with somebody at work, so that a test can say what happens in which order."""

from pathlib import Path

from raysweep.progress import Progress
from raysweep.sweep import run
from raysweep.sweep.board import Board
from raysweep.sweep.lane import Lane
from raysweep.transfer.spec import TransferSpec
from tests.sweep.toy import toy_cells

TRANSFER = TransferSpec(trials=2, repeats=1, steps=10, evaluations=1)
EVALUATION = {"step": 10, "train_loss": 0.0, "val_loss": 0.1, "val_metric": 0.5}
TRIAL = {
    "evaluation": EVALUATION,
    "steps": 10,
    "seconds": 1.0,
    "last": True,
    "failed": "",
    "lost": "",
    "refused": "",
    "final": None,
}
GONE = "FileNotFoundError: 3.png"


class Driven:
    """A board with somebody at work: keys are given out in order, and what is said is up to the test."""

    def __init__(
        self, folder: Path, places: int = 1, checkpoints: str = "abc", transfer=TRANSFER, folds=1, claims=None
    ) -> None:
        self.cells = toy_cells(folder, transfer, checkpoints=checkpoints, folds=folds)
        _, self.lanes, broken = run.open_lanes(self.cells, transfer, 0, "/nowhere", claims)
        assert not broken
        self.finished: list[str] = []
        self.notes: list[str] = []
        with Progress(quiet=True).stage("search", None, "trials") as stage:
            stage.note = self.notes.append  # type: ignore[method-assign]
            self.board = Board(self.lanes, self._finish, stage, places, claims=claims)
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
