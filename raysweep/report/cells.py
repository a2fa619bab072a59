"""What the report is told about a cell: where it is and how far it came."""

from dataclasses import dataclass

from raysweep.storage import Storage


@dataclass(frozen=True)
class CellRef:
    """One cell of the study, finished or not.

    folder: the cell's artefact folder; read only when `status` is "done".
    path: the same folder as named below the study's folder.
    status: done | running | dead | failed | waiting; `reason` says why when it failed.
    unit: patient | slide | image, what the task's test units are; None: judged from the prediction files.
    """

    folder: Storage
    path: str
    checkpoint: str
    task: str
    kind: str
    protocol: str
    fraction: float
    status: str
    reason: str = ""
    unit: str | None = None

    @property
    def name(self) -> str:
        """The cell in words, such as `simclr · glas-grade · finetune · 10 %`."""
        return f"{self.checkpoint} · {self.task} · {self.protocol} · {percent(self.fraction)}"


def percent(fraction: float) -> str:
    """A label fraction in words: 0.1 is `10 %`."""
    return f"{100 * fraction:.6g} %"
