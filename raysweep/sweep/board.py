"""All lanes of a search: what starts next, who works on what, and which cells are finished."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from raysweep.errors import reason_of
from raysweep.progress import Stage
from raysweep.sweep.cell import Cell
from raysweep.sweep.lane import Lane, Work
from raysweep.sweep.state import FAILED

DEATHS = 3  # of its process that a trial or final survives in one run


@dataclass
class _Task:
    """What one Tune trial does."""

    lane: Lane
    work: Work
    seconds: float = 0.0


class Board:
    """Hands out work in a fixed order of preference and takes the results in.

    Lanes are served in the order of the cells, and finals before trials, so that cells finish early. Towards the
    end, when there are no more searches than places, searches come first: they are chains, finals fill the gaps.
    The order decides when things happen, never what: a lane depends on its own journal alone.
    """

    def __init__(
        self, lanes: list[Lane], finish: Callable[[Cell, list[Lane]], None], stage: Stage, places: int
    ) -> None:
        self._open = list(lanes)
        self._finish, self._stage, self._places = finish, stage, places
        self._lanes: dict[int, list[Lane]] = {}
        for lane in lanes:
            self._lanes.setdefault(id(lane.cell), []).append(lane)
        self._tasks: dict[str, _Task] = {}
        self.failed: dict[str, str] = {}  # cell name -> reason
        self.error: Exception | None = None  # what ended the search as a whole
        for cell_lanes in list(self._lanes.values()):
            self._settle(cell_lanes[0].cell)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher into a snapshot that nobody reads; a display's locks do not pickle."""
        return {}

    @property
    def done(self) -> bool:
        """Nothing is left to start and nobody is at work."""
        return not self._open and not self._tasks

    def start(self, key: str) -> tuple[Lane, Work] | None:
        """Give out work under a key of the caller's; None when nothing can start now."""
        while len(self._tasks) < self._places:
            lane = self._choose()
            if lane is None:
                return None
            try:
                work = lane.start()
            except Exception as error:
                self.fail(lane.cell, reason_of(error))
                continue
            self._tasks[key] = _Task(lane, work)
            return lane, work
        return None

    def result(self, key: str, result: dict[str, Any]) -> bool:
        """Take in what an actor said (see TransferTrial.step); True when it should stop."""
        task = self._tasks[key]
        if task.lane.cell.name in self.failed:
            return True
        if task.work.kind == "final":
            return self._final(task, result)
        return self._trial(task, result)

    def release(self, key: str) -> None:
        """Nobody works under this key any more."""
        task = self._tasks.pop(key)
        task.lane.release(task.work)

    def lost(self, key: str, reason: str) -> None:
        """The process working under a key died: its work is given out again, under another key."""
        task = self._tasks.pop(key)
        deaths = task.lane.lose(task.work, reason)
        if deaths > DEATHS:
            self.fail(
                task.lane.cell, f"{_label(task)}: its process died {deaths} times ({reason}); run again to repeat it"
            )
        elif deaths:
            self._stage.note(f"{task.lane.cell.name}: {_label(task)} lost its process and is repeated ({reason})")

    def _choose(self) -> Lane | None:
        ready = [(lane, lane.peek()) for lane in self._open]
        searching = sum(not lane.searched for lane in self._open)
        first, then = ("trial", "final") if searching <= self._places else ("final", "trial")
        for kind in (first, then):
            for lane, possible in ready:
                if possible == kind:
                    return lane
        return None

    def _trial(self, task: _Task, result: dict[str, Any]) -> bool:
        lane, number = task.lane, task.work.number
        prune = False
        if result["evaluation"] is not None:
            prune = lane.report(number, result["evaluation"], result["seconds"]) and not result["last"]
        if not prune and not result["last"]:
            return False
        trial = lane.tell(number, result["seconds"], pruned=prune, failed=result["failed"])
        self._stage.advance(1, pruned=int(trial.status == "pruned"), failed=int(trial.status == "failed"))
        if trial.status == "failed":
            self._stage.note(f"{lane.cell.name}: {_label(task)} failed ({trial.reason})")
        if lane.searched:
            try:
                lane.best()
            except Exception as error:
                self.fail(lane.cell, reason_of(error))
        return True

    def _final(self, task: _Task, result: dict[str, Any]) -> bool:
        if result["failed"]:
            self.fail(task.lane.cell, f"{_label(task)}: {result['failed']}")
        else:
            task.lane.finish(task.work.number, result["final"])
            self._stage.advance(1, finals=1)
            self._settle(task.lane.cell)
        return True

    def _settle(self, cell: Cell) -> None:
        """Finish a cell whose lanes are all done."""
        lanes = self._lanes[id(cell)]
        if not all(lane.done for lane in lanes):
            return
        try:
            self._finish(cell, lanes)
        except Exception as error:
            self.fail(cell, reason_of(error))
        else:
            self._close(cell)

    def fail(self, cell: Cell, reason: str) -> None:
        """Give a cell up for this run; the other cells go on."""
        if cell.name not in self.failed:
            self.failed[cell.name] = reason
            cell.artefact.folder.write_json({"reason": reason}, FAILED)
            self._stage.note(f"{cell.name}: failed ({reason})")
        self._close(cell)

    def _close(self, cell: Cell) -> None:
        self._open = [lane for lane in self._open if lane.cell is not cell]


def _label(task: _Task) -> str:
    fold = f" of fold {task.lane.fold}" if task.lane.folds > 1 else ""
    return f"{task.work.kind} {task.work.number}{fold}"
