"""All lanes of a search: what starts next, who works on what, and which repeats are finished."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from raysweep.errors import WorkError, reason_of
from raysweep.lease import Claims
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

    Where several runs share a study, a repeat is claimed before its first work starts, with `search: once` a cell; what
    another run is at is left to it.
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
        claims: Claims | None = None,
    ) -> None:
        """`stop` is asked before every start, with the number of trials that were started; True: no further trial.

        `told` hears of every trial that came to an end, and how. `claims`: what other runs are at, if there are any.
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
        self._claims = claims
        self._claimed: dict[str, set[int]] = {}  # open repeats of this run's claims, by the folder that is claimed
        self._groups: dict[str, list[int]] = {}  # all repeats that such a claim is for
        for number, own in self._lanes.items() if claims is not None else ():
            self._groups.setdefault(own[0].piece.root, []).append(number)
        self.failed: dict[str, str] = {}  # name of a repeat -> reason
        self.others: set[str] = set()  # folders of the repeats that are left to other runs
        self.error: Exception | None = None  # what ended the search as a whole
        for repeat_lanes in list(self._lanes.values()):
            if all(lane.done for lane in repeat_lanes) and self._claim(repeat_lanes[0]):
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
            if not self._holds(lane):
                try:
                    self._claim(lane)
                except WorkError as error:  # nothing can be written
                    self.error = error
                    raise
                continue  # what is on record may have changed
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
        if lanes and self._claims is not None:
            piece = lanes[0].piece
            open_ones = self._claimed.get(piece.root, set())
            open_ones.discard(id(repeat))
            if not open_ones:
                self._claimed.pop(piece.root, None)
                self._claims.release(piece)
        return lanes

    def let_go(self) -> None:
        """Nobody works any more: what this run has not finished is free."""
        if self._claims is not None:
            for lanes in self._lanes.values():
                self._claims.release(lanes[0].piece)
        self._claimed.clear()

    def _holds(self, lane: Lane) -> bool:
        return self._claims is None or id(lane.repeat) in self._claimed.get(lane.piece.root, ())

    def _claim(self, lane: Lane) -> bool:
        """Claim a repeat, and those that share its search. False: another run is at it."""
        if self._claims is None or self._holds(lane):
            return True
        piece = lane.piece
        group = [self._lanes[number] for number in self._groups[piece.root] if number in self._lanes]
        mine = self._claims.take(piece)
        if mine:
            self._claimed[piece.root] = {id(lanes[0].repeat) for lanes in group}
        for lanes in group:
            repeat = lanes[0].repeat
            if not mine or repeat.artefact.done():
                self.others |= set() if mine else {repeat.artefact.folder.root}
                self._stage.resume(sum(lane.left for lane in lanes))
                self._close(repeat)
                continue
            for one in lanes:
                one.read()
            self._queue.update(*lanes)
        for lanes in group if mine else []:
            self._settle(lanes[0])
        return mine


def repeat_name(cell: Cell, repeat: Repeat) -> str:
    """What people call a repeat: `checkpoint/task/protocol/fraction repeat 2`."""
    return f"{cell.name} repeat {repeat.number}"


def _label(task: _Task) -> str:
    what = "final" if task.work.kind == "final" else f"trial {task.work.number}"
    return what + (f" of fold {task.lane.fold}" if task.lane.folds > 1 else "")
