"""How far a repeat is, read from its journals: light enough for `raysweep status`."""

from dataclasses import dataclass, field

from raysweep.json_file import mapping
from raysweep.storage import MANIFEST, Storage
from raysweep.sweep.history import History
from raysweep.sweep.journal import Journal, journal_names

FAILED = "failed.json"  # in the folder of an artefact: why the last attempt at it failed


@dataclass(frozen=True)
class RepeatState:
    """Counts over all folds.

    `status`: done | failed | started | waiting. Whether a started repeat is running or dead is for the study's lease
    to say. `trials` is what its search consists of, 0 while it has not begun. `best` is what `select` aims at, on val:
    the mean over the folds that have a value. `seconds` are device-seconds of the trials that were told.
    """

    status: str
    reason: str = ""
    trials: int = 0
    done: int = 0
    pruned: int = 0
    failed: int = 0
    running: int = 0  # trials asked for and not told yet
    finals_done: int = 0  # one for each fold
    best: float | None = None
    select: str = ""  # val_metric | val_loss | last
    seconds: float = field(default=0.0, compare=False)

    @property
    def told(self) -> int:
        """Trials that came to an end."""
        return self.done + self.pruned + self.failed


def repeat_state(folder: Storage) -> RepeatState:
    """The state of the repeat in a folder; WorkError when a journal is damaged."""
    if folder.exists(MANIFEST):
        manifest = mapping(folder.read_json(MANIFEST), folder.path(MANIFEST), "counts", "timings")
        counts = manifest["counts"]
        return RepeatState("done", trials=counts["trials"], done=counts["done"], pruned=counts["pruned"],
                           failed=counts["failed"], finals_done=counts["folds"], best=counts["best"],
                           select=counts["select"], seconds=manifest["timings"]["search_seconds"])  # fmt: skip
    journals = folder.at("journal")
    histories = [History(Journal(journals, name).read()) for name in journal_names(journals)]
    opened = next((h.opened for h in histories if h.opened), None)
    counts = {key: sum(h.counts()[key] for h in histories) for key in History().counts()}
    failed = folder.exists(FAILED)
    select = opened["select"] if opened else ""
    best = [b for h in histories if (b := _best(h, select)) is not None]
    return RepeatState(
        status="failed" if failed else "started" if opened else "waiting",
        reason=mapping(folder.read_json(FAILED), folder.path(FAILED)).get("reason", "") if failed else "",
        trials=opened["trials"] * opened["folds"] if opened else 0,
        done=counts["done"],
        pruned=counts["pruned"],
        failed=counts["failed"],
        running=counts["asked"],
        finals_done=sum(h.final is not None and h.final.done for h in histories),
        best=sum(best) / len(best) if best else None,
        select=select,
        seconds=sum(t.seconds for h in histories for t in h.told()),
    )


def _best(history: History, select: str) -> float | None:
    values = [t.value for t in history.told() if t.status == "done" and t.value is not None]
    return (min if select == "val_loss" else max)(values, default=None)
