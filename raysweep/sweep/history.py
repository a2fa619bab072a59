"""What a journal says: the trials and the final of one repeat in one fold. Imports nothing heavy."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from raysweep.errors import WorkError
from raysweep.sweep.journal import Event
from raysweep.sweep.objective import Evaluation

_REPORTED = ("step", "train_loss", "val_loss", "val_metric", "micro_batch")  # the last only where memory ran out


@dataclass
class Attempted:
    """Device-seconds of something that may have to be done more than once."""

    lost_seconds: float = 0.0  # of attempts that were lost, as far as they reported
    attempt_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        return self.lost_seconds + self.attempt_seconds

    def begin(self) -> None:
        """What the attempt before this one did is lost, its seconds are spent."""
        self.lost_seconds += self.attempt_seconds
        self.attempt_seconds = 0.0


@dataclass
class TrialRecord(Attempted):
    """One setting. `status` is `asked` until it is told: done, pruned or failed."""

    number: int = 0
    params: dict[str, Any] = field(default_factory=dict)
    evaluations: list[Evaluation] = field(default_factory=list)
    status: str = "asked"
    reason: str = ""
    value: float | None = None
    step: int | None = None  # of the evaluation that gave the value

    @property
    def val_loss(self) -> float:
        """Loss on val at the evaluation that gave the value; infinite where there is none."""
        return next((e["val_loss"] for e in self.evaluations if e["step"] == self.step), float("inf"))


@dataclass
class FinalRecord(Attempted):
    """The chosen setting trained once more. It is done when it has predictions, or a reason why there are none."""

    params: dict[str, Any] = field(default_factory=dict)
    evaluations: list[Evaluation] = field(default_factory=list)
    predictions: str = ""  # file below the repeat's folder
    further: dict[str, str] = field(default_factory=dict)  # those of further test sets, by name
    reason: str = ""
    chosen_by: str = ""  # of a frozen protocol, whose final chooses its setting: how, in words
    edge: str = ""  # its setting's name where the best value is at an end of the path

    @property
    def done(self) -> bool:
        return bool(self.predictions or self.reason)


class History:
    """State of a search as its events leave it; the same events give the same state.

    Raises WorkError for events that are none, such as those of a file in a bucket that somebody else has written.

    Events: `opened` (fold, folds, trials, select and the sizes of the draw), `asked` (trial with params, or final),
    `reported` (trial, an evaluation, seconds of the attempt so far), `told` (trial, status, value, step, reason,
    seconds), `lost` (trial or final whose attempt came to nothing through no fault of its setting), `final` (it is
    done: params, evaluations, predictions or a reason, seconds; of a frozen protocol chosen_by and edge; `further` are
    the predictions of further test sets).
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.opened: Event = {}
        self.trials: dict[int, TrialRecord] = {}
        self.final: FinalRecord | None = None  # None until it was asked for
        self.n_told = 0
        for event in events:
            try:
                self.apply(event)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise WorkError(
                    f"a journal holds an event that raysweep does not write ({event!r:.80}); remove the folder of its "
                    "repeat to redo it"
                ) from error

    def apply(self, event: Event) -> None:
        kind = event["event"]
        if kind == "opened":
            self.opened = event
        elif "trial" in event:
            self._trial(kind, event)
        else:
            self._final(kind, event)

    def told(self) -> list[TrialRecord]:
        """Trials that came to an end, by number."""
        return [t for _, t in sorted(self.trials.items()) if t.status != "asked"]

    def counts(self) -> dict[str, int]:
        """How many trials are done, pruned, failed and asked (not told yet)."""
        found = dict.fromkeys(("done", "pruned", "failed", "asked"), 0)
        for trial in self.trials.values():
            found[trial.status] += 1
        return found

    def _trial(self, kind: str, event: Event) -> None:
        number = event["trial"]
        if kind == "asked" and number not in self.trials:
            self.trials[number] = TrialRecord(number=number, params=event["params"])
            return
        trial = self.trials[number]
        if kind in ("asked", "lost"):  # again: what the attempt reported does not count
            trial.begin()
            trial.evaluations = []
        elif kind == "reported":
            trial.evaluations.append({key: event[key] for key in _REPORTED if key in event})
            trial.attempt_seconds = event["seconds"]
        else:
            trial.status, trial.reason = event["status"], event["reason"]
            trial.value, trial.step = event["value"], event["step"]
            trial.attempt_seconds = event["seconds"]
            self.n_told += 1

    def _final(self, kind: str, event: Event) -> None:
        final = self.final = self.final or FinalRecord()
        if kind == "final":
            final.params, final.evaluations = event["params"], event["evaluations"]
            final.predictions, final.reason = _below(event["predictions"]), event["reason"]
            final.further = {name: _below(file) for name, file in event.get("further", {}).items()}
            final.chosen_by, final.edge = event.get("chosen_by", ""), event.get("edge", "")
            final.attempt_seconds = event["seconds"]
        else:
            final.begin()


def _below(file: str) -> str:
    """The name of a file below the repeat's folder. Raises ValueError for one elsewhere."""
    if file.startswith("/") or ".." in PurePosixPath(file).parts:
        raise ValueError(f"{file} is outside of the repeat's folder")
    return file
