"""One cell in one fold: its search and its finals, written to a journal as they go."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from raysweep.errors import WorkError
from raysweep.sweep.asha import should_stop
from raysweep.sweep.cell import Cell
from raysweep.sweep.history import FinalRecord, History, TrialRecord
from raysweep.sweep.journal import Event, Journal
from raysweep.sweep.objective import Evaluation, best_evaluation, gain
from raysweep.sweep.sampler import propose
from raysweep.transfer.spec import TransferSpec


@dataclass(frozen=True)
class Work:
    """Something an actor can do: trial `number` of a search, or the final of seed `number`."""

    kind: Literal["trial", "final"]
    number: int
    params: dict[str, Any]


class Lane:
    """Decides what comes next for one cell in one fold, and remembers it durably.

    Every event is on disk before it has an effect, and every decision is a function of the events: a lane made
    from the journal of a killed run goes on as that run would have. Trials come one after another
    (`parallel_per_cell` at once); finals follow when the last trial is told, all at once.
    """

    def __init__(
        self, cell: Cell, fold: int, folds: int, transfer: TransferSpec, space: dict[str, Any], seed: int
    ) -> None:
        self.cell, self.fold, self.folds = cell, fold, folds
        self._transfer, self._space = transfer, space
        self._stream = (seed, "sampler", cell.task, cell.protocol, cell.fraction, fold)
        self._journal = Journal(cell.artefact.folder.at("journal"), f"fold{fold}")
        self.history = History(self._journal.read())
        self._running: set[tuple[str, int]] = set()
        self._deaths: Counter[tuple[str, int]] = Counter()
        for final in self.history.finals.values():  # a file that went missing is made again
            if final.predictions and not cell.artefact.folder.exists(final.predictions):
                final.predictions = ""

    @property
    def searched(self) -> bool:
        """Whether every trial was told."""
        return len(self.history.told()) >= self._transfer.trials

    @property
    def done(self) -> bool:
        return self.searched and sum(bool(f.predictions) for f in self.history.finals.values()) >= self._transfer.finals

    @property
    def left(self) -> int:
        """Trials and finals that are still to be done."""
        finals = sum(bool(f.predictions) for f in self.history.finals.values())
        return self._transfer.trials - len(self.history.told()) + self._transfer.finals - finals

    def best(self) -> TrialRecord:
        """The chosen setting: the best value, equal ones by the lowest number.

        Raises WorkError with the first reason when no trial ran to its end.
        """
        ended = [t for t in self.history.told() if t.status == "done"]
        if not ended:
            reasons = [t.reason for t in self.history.told() if t.reason]
            where = f" of fold {self.fold}" if self.folds > 1 else ""
            raise WorkError(f"all {self._transfer.trials} trials{where} failed; the first: {reasons[0]}")
        select = self._transfer.select
        return min(ended, key=lambda t: (-gain(t.value, select), t.number))  # type: ignore[arg-type]

    def peek(self) -> Literal["trial", "final"] | None:
        """The kind of work that could start now."""
        if self.searched:
            return "final" if self._next_final() is not None else None
        running = sum(kind == "trial" for kind, _ in self._running)
        return "trial" if running < self._transfer.parallel_per_cell and self._next_trial() is not None else None

    def start(self) -> Work:
        """Take the work that `peek` announced; it is on record as asked when this returns.

        Raises WorkError when there is no setting to run finals with.
        """
        kind = self.peek()
        number = self._next_trial() if kind == "trial" else self._next_final()
        assert kind is not None, "start() needs peek() to say there is work"
        assert number is not None
        if not self.history.opened:
            self._record({"event": "opened", "fold": self.fold, "folds": self.folds,
                          "trials": self._transfer.trials, "finals": self._transfer.finals})  # fmt: skip
        if kind == "trial":
            params = self._params(number)
            self._record({"event": "asked", "trial": number, "params": params})
        else:
            params = self.best().params
            self._record({"event": "asked", "final": number})
        self._running.add((kind, number))
        return Work(kind, number, params)

    def report(self, number: int, evaluation: Evaluation, seconds: float) -> bool:
        """Record an evaluation of a trial; True when the trial should stop here. `seconds`: of this attempt so far."""
        self._record({"event": "reported", "trial": number, **evaluation, "seconds": seconds})
        if self._transfer.early_stopping == "none":
            return False
        trials = self.history.trials
        return should_stop(trials[number], trials.values(), self._transfer.evaluations, self._transfer.select)

    def tell(self, number: int, seconds: float, *, pruned: bool = False, failed: str = "") -> TrialRecord:
        """A trial came to an end: stopped, failed for a reason, or done. A value that is no number is a failure."""
        trial = self.history.trials[number]
        best = best_evaluation(trial.evaluations, self._transfer.select)
        if best is None and not failed:
            failed = "it gave no finite value on val"
        status = "failed" if failed else "pruned" if pruned else "done"
        value, step = best if best and not failed else (None, None)
        self._record({"event": "told", "trial": number, "status": status, "value": value, "step": step,
                      "reason": failed, "seconds": seconds})  # fmt: skip
        self._running.discard(("trial", number))
        return trial

    def finish(self, seed: int, final: Event) -> FinalRecord:
        """A final is done: its params, n_images, n_units, predictions and seconds."""
        self._record({"event": "final", "final": seed, **final})
        self._running.discard(("final", seed))
        return self.history.finals[seed]

    def lose(self, work: Work, reason: str) -> int:
        """The process at work died: the work can be started again. Returns how often this happened in this run."""
        key = work.kind, work.number
        if key not in self._running:  # it had come to an end
            return 0
        self._record({"event": "lost", work.kind: work.number, "reason": reason})
        self._running.discard(key)
        self._deaths[key] += 1
        return self._deaths[key]

    def release(self, work: Work) -> None:
        """Nobody works on this any more, whether or not it came to an end."""
        self._running.discard((work.kind, work.number))

    def _record(self, event: Event) -> None:
        self._journal.append(event)
        self.history.apply(event)

    def _params(self, number: int) -> dict[str, Any]:
        """Those on record when the trial is repeated, else new ones."""
        if number in self.history.trials:
            return self.history.trials[number].params
        known = [self.history.trials[n] for n in sorted(self.history.trials)]
        return propose(self._space, known, number=number, budget=self._transfer.trials,
                       select=self._transfer.select, stream=self._stream)  # fmt: skip

    def _next_trial(self) -> int | None:
        trials = self.history.trials
        free = (n for n in range(self._transfer.trials) if ("trial", n) not in self._running)
        return next((n for n in free if n not in trials or trials[n].status == "asked"), None)

    def _next_final(self) -> int | None:
        finals = self.history.finals
        free = (n for n in range(self._transfer.finals) if ("final", n) not in self._running)
        return next((n for n in free if n not in finals or not finals[n].predictions), None)
