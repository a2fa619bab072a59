"""One repeat of a cell in one fold: its search and its final, written to a journal as they go."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Literal

from raysweep.errors import WorkError
from raysweep.storage import Storage
from raysweep.sweep.cell import Cell, Repeat, piece_of
from raysweep.sweep.early import should_stop
from raysweep.sweep.history import FinalRecord, History, TrialRecord
from raysweep.sweep.journal import Event, Journal
from raysweep.sweep.objective import Evaluation, best_evaluation, gain
from raysweep.sweep.on_record import misfit
from raysweep.sweep.reuse import search_key
from raysweep.sweep.sampler import propose, trials_of
from raysweep.transfer.protocol import get_protocol
from raysweep.transfer.spec import TransferSpec

PARTS = "parts"  # folder below the repeat's: predictions of single folds, until the repeat is finished


def mask_part(task: str, fold: int) -> tuple[str, str, str]:
    """Where the masks that a fold's final keeps are until then, below the repeat's folder."""
    return PARTS, "masks", f"{task}-fold{fold}.parquet"


@dataclass(frozen=True)
class DrawSizes:
    """How many labelled images, and units of them, a repeat's draw holds; and how many of these are for val."""

    n_images: int
    n_units: int
    n_val_images: int
    n_val_units: int


@dataclass(frozen=True)
class Work:
    """Something an actor can do: trial `number` of a search, or the final (`number` is then the repeat's)."""

    kind: Literal["trial", "final"]
    number: int
    params: dict[str, Any]


class Lane:
    """Decides what comes next for one repeat in one fold, and remembers it durably.

    Every event is on disk before it has an effect, and every decision is a function of the events: a lane made
    from the journal of a killed run goes on as that run would have. Trials come one after another
    (`parallel_per_repeat` at once); the final follows when the last trial is told, unless the repeat is searched
    alone. A frozen protocol has a final alone.
    """

    def __init__(
        self,
        cell: Cell,
        repeat: Repeat,
        fold: int,
        folds: int,
        transfer: TransferSpec,
        seed: int,
        *,
        sizes: DrawSizes,
        searched_by: "Lane | None" = None,
    ) -> None:
        """`searched_by`: the lane of repeat 0 whose search serves this one too; this one then has no trials."""
        self.cell, self.repeat, self.fold, self.folds, self.sizes = cell, repeat, fold, folds, sizes
        self.select = transfer.select_by(sizes.n_val_units)
        self._transfer, self.searched_by = transfer, searched_by
        adaptation = cell.adaptation or get_protocol(cell.protocol).adaptation
        self._stream = (seed, "sampler", cell.protocol, cell.kind, adaptation, repeat.number)
        self._budget = 0 if cell.frozen else trials_of(cell.space, transfer.sampler, transfer.trials)
        self._running: set[str | int] = set()  # trial numbers, and "final"
        self.losses: Counter[str | int] = Counter()  # in this run
        self.read()

    def read(self) -> None:
        """Take in what is on record by now: another run may have been at it."""
        folder = self.repeat.artefact.folder
        self._journal = Journal(folder.at("journal"), f"fold{self.fold}")
        self.history = History(self._journal.read())
        self._check_settings()
        final = self.history.final
        files = [final.predictions, *final.further.values()] if final and final.predictions else []
        if final and not all(folder.exists(*file.split("/")) for file in files):
            final.predictions = ""  # a file that went missing is made again

    def _check_settings(self) -> None:
        """Raise WorkError for a trial on record that no search of this space has tried: it may have been written by
        anybody, and would be trained."""
        for trial in () if self.cell.frozen else self.history.trials.values():
            wrong = misfit(self.cell.space, trial.params)
            if wrong:
                raise WorkError(
                    f"{self.repeat.artefact.folder.path('journal')}: trial {trial.number}: {wrong}; remove the "
                    "repeat's folder to redo it"
                )

    @property
    def piece(self) -> Storage:
        """What a run claims before it works on it."""
        return piece_of(self.cell, self.repeat, self._transfer)

    @property
    def trials(self) -> int:
        """How many settings its own search tries."""
        return 0 if self.searched_by or self.cell.frozen else self._budget

    @property
    def searched(self) -> bool:
        """Whether every trial was told, here or where it is searched."""
        lane = self.searched_by or self
        return lane.history.n_told >= lane.trials

    @property
    def done(self) -> bool:
        """Whether the final is done, or there is none: no setting trained to its end, or none is wanted."""
        return self.searched and (
            not self.repeat.final
            or self._final_params() is None
            or (self.history.final is not None and self.history.final.done)
        )

    @property
    def left(self) -> int:
        """Trials and finals that are still to be done, as far as is known."""
        return self.trials - self.history.n_told + (self.repeat.final and not self.done)

    def waits_for(self, repeat: Repeat) -> bool:
        """Whether it cannot go on before that repeat's search has ended."""
        return self.searched_by is not None and self.searched_by.repeat is repeat and not self.searched

    def best(self) -> TrialRecord | None:
        """The chosen setting: the best value, equal ones by the lower val loss, then the lower number.

        None when no trial ran to its end; `failure` says why.
        """
        if self.searched_by:
            return self.searched_by.best()
        ended = [t for t in self.history.told() if t.status == "done" and t.value is not None]
        key = lambda t: (-gain(t.value, self.select), t.val_loss, t.number)  # noqa: E731
        return min(ended, key=key) if ended else None

    def failure(self) -> str:
        """Why there is no result, once the lane is done; empty when there is one."""
        if self._final_params() is not None:
            return self.history.final.reason if self.history.final else ""
        lane = self.searched_by or self
        reasons = [t.reason for t in lane.history.told() if t.reason]
        whose = " of repeat 0" if self.searched_by else ""
        return f"all {self._budget} trials{whose} failed; the first: {reasons[0]}"

    def peek(self) -> Literal["trial", "final"] | None:
        """The kind of work that could start now."""
        if self.searched:
            return None if self.done or "final" in self._running else "final"
        if self.searched_by or len(self._running) >= self._transfer.parallel_per_repeat:
            return None
        return "trial" if self._next_trial() is not None else None

    def start(self) -> Work:
        """Take the work that `peek` announced; it is on record as asked when this returns."""
        kind = self.peek()
        assert kind is not None, "start() needs peek() to say there is work"
        if not self.history.opened:
            self._record({"event": "opened", "fold": self.fold, "folds": self.folds, "trials": self.trials,
                          "select": self.select, "search": search_key(self.repeat.artefact.inputs),
                          **asdict(self.sizes)})  # fmt: skip
        if kind == "trial":
            number = self._next_trial()
            assert number is not None
            params = self._params(number)
            self._record({"event": "asked", "trial": number, "params": params})
            self._running.add(number)
            return Work(kind, number, params)
        wanted = self._final_params()
        assert wanted is not None
        self._record({"event": "asked", "final": self.repeat.number})
        self._running.add("final")
        return Work(kind, self.repeat.number, wanted)

    def report(self, number: int, evaluation: Evaluation, seconds: float, steps: int) -> bool:
        """Record an evaluation of a trial; True when the trial should stop here.

        `seconds`: of this attempt so far. `steps`: of a whole trial.
        """
        self._record({"event": "reported", "trial": number, **evaluation, "seconds": seconds})
        trials = self.history.trials
        return should_stop(self._transfer.early_stopping, trials[number], trials.values(), steps=steps,
                           select=self.select)  # fmt: skip

    def tell(self, number: int, seconds: float, *, pruned: bool = False, failed: str = "") -> TrialRecord:
        """A trial came to an end: stopped, failed for a reason, or done. A value that is no number is a failure."""
        trial = self.history.trials[number]
        best = best_evaluation(trial.evaluations, self.select)
        if best is None and not failed:
            failed = "it gave no finite value on val"
        status = "failed" if failed else "pruned" if pruned else "done"
        value, step = best if best and not failed else (None, None)
        self._record({"event": "told", "trial": number, "status": status, "value": value, "step": step,
                      "reason": failed, "seconds": seconds})  # fmt: skip
        self._running.discard(number)
        return trial

    def finish(self, final: Event) -> FinalRecord:
        """The final is done: its params, evaluations, predictions (or the reason why there are none) and seconds."""
        self._record({"event": "final", "final": self.repeat.number, **final})
        self._running.discard("final")
        assert self.history.final is not None
        return self.history.final

    def lose(self, work: Work, reason: str) -> int:
        """An attempt came to nothing: the work can be started again. Returns how often this happened in this run."""
        key = _key(work)
        if key not in self._running:  # it had come to an end
            return 0
        self._record({"event": "lost", work.kind: work.number, "reason": reason})
        self._running.discard(key)
        self.losses[key] += 1
        return self.losses[key]

    def release(self, work: Work) -> None:
        """Nobody works on this any more, whether or not it came to an end."""
        self._running.discard(_key(work))

    def _final_params(self) -> dict[str, Any] | None:
        """What the final is given: the chosen setting, or the path that a frozen protocol chooses from by itself."""
        if self.cell.frozen:
            return self.cell.space
        best = self.best()
        return None if best is None else best.params

    def _record(self, event: Event) -> None:
        self._journal.append(event)
        self.history.apply(event)

    def _params(self, number: int) -> dict[str, Any]:
        """Those on record when the trial is repeated, else new ones."""
        if number in self.history.trials:
            return self.history.trials[number].params
        known = [self.history.trials[n] for n in sorted(self.history.trials)]
        return propose(self.cell.space, known, number=number, budget=self._budget, select=self.select,
                       stream=self._stream, sampler=self._transfer.sampler)  # fmt: skip

    def _next_trial(self) -> int | None:
        trials = self.history.trials
        free = (n for n in range(self._budget) if n not in self._running)
        return next((n for n in free if n not in trials or trials[n].status == "asked"), None)


def _key(work: Work) -> str | int:
    return work.number if work.kind == "trial" else "final"
