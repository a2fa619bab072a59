"""All lanes of a search: what starts next, who works on what, and which repeats are finished."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from raysweep.errors import reason_of
from raysweep.progress import Stage
from raysweep.sweep.cell import Cell, Repeat
from raysweep.sweep.lane import Lane, Work
from raysweep.sweep.queue import LaneQueue
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

    def __init__(
        self,
        lanes: list[Lane],
        finish: Finish,
        stage: Stage,
        places: int,
        *,
        stop: Callable[[int], bool] = lambda started: False,
        told: Callable[[Lane, str], None] = lambda lane, status: None,
    ) -> None:
        """`stop` is asked before every start, with the number of trials that were started; True: no further trial.

        `told` hears of every trial that came to an end, and how.
        """
        self._finish, self._stage, self._places, self._stop, self._told = finish, stage, places, stop, told
        self._queue = LaneQueue(lanes)
        self._lanes: dict[int, list[Lane]] = {}  # of a repeat
        self._after: dict[int, list[Lane]] = {}  # lanes that wait for the search of another, by that one's id
        for lane in lanes:
            self._lanes.setdefault(id(lane.repeat), []).append(lane)
            if lane.searched_by is not None:
                self._after.setdefault(id(lane.searched_by), []).append(lane)
        self._tasks: dict[str, _Task] = {}
        self._trials = 0  # that were started
        self.failed: dict[str, str] = {}  # name of a repeat -> reason
        self.error: Exception | None = None  # what ended the search as a whole
        for repeat_lanes in list(self._lanes.values()):
            self._settle(repeat_lanes[0])

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher into a snapshot that nobody reads; a display's locks do not pickle."""
        return {}

    @property
    def done(self) -> bool:
        """Nothing is left to start, and nobody is at work."""
        return not self._tasks and (not self._queue or (self.stopped and self._queue.first(("final",)) is None))

    @property
    def at_work(self) -> bool:
        """Whether anybody is at work."""
        return bool(self._tasks)

    @property
    def stopped(self) -> bool:
        """Whether no further trial is to start; searches that have ended still get their finals."""
        return self._stop(self._trials)

    @property
    def left(self) -> list[str]:
        """Names of the repeats that are neither finished nor given up."""
        return [repeat_name(lanes[0].cell, lanes[0].repeat) for lanes in self._lanes.values()]

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
            self._trials += work.kind == "trial"
            self._queue.update(lane)
            return lane, work
        return None

    def result(self, key: str, result: dict[str, Any]) -> bool:
        """Take in what an actor said (see TransferTrial.step); True when it should stop."""
        task = self._tasks[key]
        if task.over or repeat_name(task.lane.cell, task.lane.repeat) in self.failed:
            return True
        if result["refused"]:
            task.over = True
            self._free(task)
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
            self._free(task)

    def lost(self, key: str, reason: str) -> None:
        """The process working under a key died: its work is given out again, under another key."""
        task = self._tasks.pop(key)
        if not task.over:
            self._lose(task, f"its process died: {reason}")

    def _free(self, task: _Task) -> None:
        task.lane.release(task.work)
        self._queue.update(task.lane)

    def _lose(self, task: _Task, reason: str) -> None:
        lane, times = task.lane, task.lane.lose(task.work, reason)
        self._queue.update(lane)
        name = repeat_name(lane.cell, lane.repeat)
        if times >= ATTEMPTS:
            self.fail(
                lane.cell, lane.repeat, f"{_label(task)}: {times} attempts were lost, the last: {reason}; run again"
            )
        elif times and name not in self.failed:
            self._stage.note(f"{name}: {_label(task)} is tried again ({reason})")

    def _choose(self) -> Lane | None:
        if self.stopped:
            return self._queue.first(("final",))
        return self._queue.first(("trial", "final") if self._queue.n_searching <= self._places else ("final", "trial"))

    def _trial(self, task: _Task, result: dict[str, Any]) -> bool:
        lane, number = task.lane, task.work.number
        prune = False
        if result["evaluation"] is not None:
            prune = lane.report(number, result["evaluation"], result["seconds"], result["steps"]) and not result["last"]
        if not prune and not result["last"]:
            return False
        trial = lane.tell(number, result["seconds"], pruned=prune, failed=result["failed"])
        self._stage.advance(1, pruned=int(trial.status == "pruned"), failed=int(trial.status == "failed"))
        if trial.status == "failed":
            self._stage.note(f"{repeat_name(lane.cell, lane.repeat)}: {_label(task)} failed ({trial.reason})")
        self._told(lane, trial.status)
        self._queue.update(lane)
        if lane.searched:
            waiting = self._after.get(id(lane), [])
            self._queue.update(*waiting)
            for other in (lane, *waiting):  # those without a setting to run a final with, and those that want none
                self._settle(other)
        return True

    def _final(self, task: _Task, result: dict[str, Any]) -> bool:
        final = task.lane.finish(result["final"])
        self._queue.update(task.lane)
        self._stage.advance(1, finals=1, failed=int(bool(final.reason)))
        if final.reason:
            self._stage.note(f"{repeat_name(task.lane.cell, task.lane.repeat)}: {_label(task)} failed ({final.reason})")
        self._settle(task.lane)
        return True

    def _settle(self, lane: Lane) -> None:
        """Finish a repeat whose lanes are all done."""
        lanes = self._lanes.get(id(lane.repeat), [])
        if not lanes or not all(lane.done for lane in lanes):
            return
        try:
            if lane.repeat.final:
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
        for lane in self._close(repeat):
            for other in self._after.get(id(lane), []):
                if other.waits_for(repeat):
                    why = f"the search of repeat {repeat.number} serves all and failed: {reason}"
                    self.fail(other.cell, other.repeat, why)

    def _close(self, repeat: Repeat) -> Iterable[Lane]:
        """Forget the lanes of a repeat, which it gives back. Those that have taken its search hold on to it."""
        lanes = self._lanes.pop(id(repeat), [])
        self._queue.remove(*lanes)
        return lanes


def repeat_name(cell: Cell, repeat: Repeat) -> str:
    """What people call a repeat: `checkpoint/task/protocol/fraction repeat 2`."""
    return f"{cell.name} repeat {repeat.number}"


def _label(task: _Task) -> str:
    what = "final" if task.work.kind == "final" else f"trial {task.work.number}"
    return what + (f" of fold {task.lane.fold}" if task.lane.folds > 1 else "")
