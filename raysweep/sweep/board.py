"""All lanes of a search: what starts next, who works on what, and which repeats are finished."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from raysweep.errors import reason_of
from raysweep.progress import Stage
from raysweep.sweep.cell import Cell, Repeat
from raysweep.sweep.lane import Lane, Work
from raysweep.sweep.state import FAILED

ATTEMPTS = 4  # at a trial or final in one run, when attempts are lost through no fault of its setting

Finish = Callable[[Cell, Repeat, list[Lane]], None]


@dataclass
class _Task:
    """What one Tune trial does. `over`: nothing it says or how it ends matters any more."""

    lane: Lane
    work: Work
    over: bool = False


class Board:
    """Hands out work in a fixed order of preference and takes the results in.

    Lanes are served in their order, finals before trials, so that repeats finish early; what was lost before comes
    after what was not. Towards the end, when there are no more searches than places, searches come first: they are
    chains, finals fill the gaps. The order decides when things happen, never what: a lane depends on its own journal
    alone (with `search: once`, on that of repeat 0 too).
    """

    def __init__(self, lanes: list[Lane], finish: Finish, stage: Stage, places: int) -> None:
        self._open = list(lanes)
        self._finish, self._stage, self._places = finish, stage, places
        self._lanes: dict[int, list[Lane]] = {}
        for lane in lanes:
            self._lanes.setdefault(id(lane.repeat), []).append(lane)
        self._tasks: dict[str, _Task] = {}
        self.failed: dict[str, str] = {}  # name of a repeat -> reason
        self.error: Exception | None = None  # what ended the search as a whole
        for repeat_lanes in list(self._lanes.values()):
            self._settle(repeat_lanes[0])

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
                self.fail(lane.cell, lane.repeat, reason_of(error))
                continue
            self._tasks[key] = _Task(lane, work)
            return lane, work
        return None

    def result(self, key: str, result: dict[str, Any]) -> bool:
        """Take in what an actor said (see TransferTrial.step); True when it should stop."""
        task = self._tasks[key]
        if task.over or repeat_name(task.lane.cell, task.lane.repeat) in self.failed:
            return True
        if result["refused"]:
            task.over = True
            task.lane.release(task.work)
            self.fail(task.lane.cell, task.lane.repeat, f"{_label(task)}: {result['refused']}")
            return True
        if result["lost"]:
            task.over = True
            self._lose(task, result["lost"])
            return True
        return self._final(task, result) if task.work.kind == "final" else self._trial(task, result)

    def release(self, key: str) -> None:
        """Nobody works under this key any more."""
        task = self._tasks.pop(key)
        if not task.over:
            task.lane.release(task.work)

    def lost(self, key: str, reason: str) -> None:
        """The process working under a key died: its work is given out again, under another key."""
        task = self._tasks.pop(key)
        if not task.over:
            self._lose(task, f"its process died: {reason}")

    def _lose(self, task: _Task, reason: str) -> None:
        lane, times = task.lane, task.lane.lose(task.work, reason)
        name = repeat_name(lane.cell, lane.repeat)
        if times >= ATTEMPTS:
            self.fail(
                lane.cell, lane.repeat, f"{_label(task)}: {times} attempts were lost, the last: {reason}; run again"
            )
        elif times and name not in self.failed:
            self._stage.note(f"{name}: {_label(task)} is tried again ({reason})")

    def _choose(self) -> Lane | None:
        searching = sum(not lane.searched for lane in self._open)
        order = ("trial", "final") if searching <= self._places else ("final", "trial")
        best: tuple[int, int] | None = None
        chosen: Lane | None = None
        for lane in self._open:
            kind = lane.peek()
            if kind is None:
                continue
            rank = (lane.losses.total(), order.index(kind))
            if best is None or rank < best:
                best, chosen = rank, lane
        return chosen

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
            self._stage.note(f"{repeat_name(lane.cell, lane.repeat)}: {_label(task)} failed ({trial.reason})")
        if lane.searched and lane.best() is None:  # nothing to run a final with: the repeat has no value
            for repeat_lanes in list(self._lanes.values()):
                if repeat_lanes[0].cell is lane.cell:
                    self._settle(repeat_lanes[0])
        return True

    def _final(self, task: _Task, result: dict[str, Any]) -> bool:
        final = task.lane.finish(result["final"])
        self._stage.advance(1, finals=1, failed=int(bool(final.reason)))
        if final.reason:
            self._stage.note(f"{repeat_name(task.lane.cell, task.lane.repeat)}: {_label(task)} failed ({final.reason})")
        self._settle(task.lane)
        return True

    def _settle(self, lane: Lane) -> None:
        """Finish a repeat whose lanes are all done."""
        lanes = self._lanes[id(lane.repeat)]
        if not all(lane.done for lane in lanes) or not any(lane in self._open for lane in lanes):
            return
        try:
            self._finish(lane.cell, lane.repeat, lanes)
        except Exception as error:
            self.fail(lane.cell, lane.repeat, reason_of(error))
        else:
            self._close(lane.repeat)

    def fail(self, cell: Cell, repeat: Repeat, reason: str) -> None:
        """Give a repeat up for this run, and those that wait for its search; the others go on."""
        name = repeat_name(cell, repeat)
        if name not in self.failed:
            self.failed[name] = reason
            repeat.artefact.folder.write_json({"reason": reason}, FAILED)
            self._stage.note(f"{name}: failed ({reason})")
        self._close(repeat)
        for lane in list(self._open):
            if lane.cell is cell and lane.waits_for(repeat):
                self.fail(cell, lane.repeat, f"the search of repeat {repeat.number} serves all and failed: {reason}")

    def _close(self, repeat: Repeat) -> None:
        self._open = [lane for lane in self._open if lane.repeat is not repeat]


def repeat_name(cell: Cell, repeat: Repeat) -> str:
    """What people call a repeat: `checkpoint/task/protocol/fraction repeat 2`."""
    return f"{cell.name} repeat {repeat.number}"


def _label(task: _Task) -> str:
    what = "final" if task.work.kind == "final" else f"trial {task.work.number}"
    return what + (f" of fold {task.lane.fold}" if task.lane.folds > 1 else "")
