"""What the report is told about a cell: where its repeats are and how far they came."""

from dataclasses import dataclass

from raysweep.report.seen import Seen, mark_of
from raysweep.storage import Storage


@dataclass(frozen=True)
class RepeatRef:
    """One repeat of a cell, finished or not.

    folder: the repeat's artefact folder; read only when `status` is "done". path: the same as named below the study's
    folder. status: done | running | dead | failed | waiting; `reason` says why when it failed.
    """

    number: int
    folder: Storage
    path: str
    status: str
    reason: str = ""


@dataclass(frozen=True)
class CellRef:
    """One cell of the study and all its planned repeats.

    path: what names it, `cells/<checkpoint>/<task>/<protocol>/<fraction>`. metrics: the card's, its own first.
    unit: patient | slide | image, what the task's test units are; None: judged from the prediction files.
    seen: what the checkpoint's weights have seen of each test set; nothing of those that are not named.
    """

    path: str
    checkpoint: str
    task: str
    kind: str
    protocol: str
    fraction: float
    metrics: tuple[str, ...]
    repeats: tuple[RepeatRef, ...]
    unit: str | None = None
    seen: tuple[Seen, ...] = ()

    @property
    def status(self) -> str:
        """Of the cell as a whole: done when every repeat is; else the first of these that one repeat is."""
        found = {repeat.status for repeat in self.repeats}
        return next((s for s in ("failed", "running", "dead", "waiting") if s in found), "done")

    @property
    def reason(self) -> str:
        """Why the first repeat that failed did."""
        return next((repeat.reason for repeat in self.repeats if repeat.status == "failed"), "")

    @property
    def mark(self) -> str:
        """What stands beside each number on the task's own test set; empty where there is nothing to warn of."""
        return mark_of(self.seen, self.task)

    @property
    def name(self) -> str:
        """The cell in words, such as `simclr · glas-grade · finetune · 10 %`."""
        return f"{self.checkpoint} · {self.task} · {self.protocol} · {percent(self.fraction)}"


def percent(fraction: float) -> str:
    """A label fraction in words: 0.1 is `10 %`."""
    return f"{100 * fraction:.6g} %"
