"""What the report is told about a cell: where its repeats are and how far they came."""

from dataclasses import dataclass, replace

from raysweep.report.seen import Seen, mark_of
from raysweep.storage import Storage


@dataclass(frozen=True)
class RepeatRef:
    """One repeat of a cell, finished or not.

    folder: the repeat's artefact folder; read only when `status` is "done". path: the same as named below the study's
    folder. status: done | running | dead | failed | waiting; `reason` says why when it failed. point: of a grid of
    which one is chosen, the point whose repeat it is.
    """

    number: int
    folder: Storage
    path: str
    status: str
    reason: str = ""
    point: str = ""


@dataclass(frozen=True)
class CellRef:
    """One cell of the study and all its planned repeats.

    path: what names it, `cells/<checkpoint>/<task>/<protocol>/<fraction>`. metrics: the card's, its own first.
    unit: patient | slide | image, what the task's test units are; None: judged from the prediction files.
    seen: what the checkpoint's weights have seen of each test set; nothing of those that are not named.
    further: the task's further test sets, by name and kind of unit.
    tested_on: the further test set that numbers are of; empty: the task's own test set.
    decoder: what masks come from, in words; empty where there are none.
    data_set: what the task's images are from: tasks of one are no independent witnesses; empty: not known.
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
    further: tuple[tuple[str, str | None], ...] = ()
    tested_on: str = ""
    decoder: str = ""
    data_set: str = ""

    @property
    def test_set(self) -> str:
        """What result rows call the test set."""
        return self.tested_on or self.task

    @property
    def key(self) -> str:
        """What names it together with its test set."""
        return f"{self.path} on {self.tested_on}" if self.tested_on else self.path

    def on_further(self) -> "list[CellRef]":
        """The same cell, tested on each of its further test sets."""
        return [replace(self, tested_on=name, unit=unit, further=()) for name, unit in self.further]

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
        """What stands beside each number on the test set; empty where there is nothing to warn of."""
        return mark_of(self.seen, self.test_set)

    @property
    def name(self) -> str:
        """The cell in words, such as `simclr · glas-grade · finetune · 10 %`."""
        name = f"{self.checkpoint} · {self.task} · {self.protocol} · {percent(self.fraction)}"
        return f"{name} · on {self.tested_on}" if self.tested_on else name

    @property
    def tested(self) -> str:
        """The task, and what it was tested on where that is not its own test set: `glands, tested on crag`."""
        return f"{self.task}, tested on {self.tested_on}" if self.tested_on else self.task


def percent(fraction: float) -> str:
    """A label fraction in words: 0.1 is `10 %`."""
    return f"{100 * fraction:.6g} %"
