"""What a pretraining draws its patches from."""

from dataclasses import dataclass

from raysweep.storage import Storage


@dataclass(frozen=True)
class SourceInput:
    """One source. Small and picklable: it travels to every worker.

    folder: of its patch set. weight: how often it is drawn beside others; None: the method's own rule. task, fold: of
    a labelled set the folder of its index, and the fold whose training part may be seen (None: see `train_rows`).
    """

    name: str
    folder: Storage
    weight: float | None = None
    task: Storage | None = None
    fold: int | None = None


def write_sources(folder, sources, *, parent, split_seed):
    pass
