"""How far the search of each cell is, read from journals and manifests: cheap enough to look at again and again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from raysweep.progress import span
from raysweep.study.failures import failure_of
from raysweep.study.fates import OUT, Fate, Fates
from raysweep.study.tasks import TaskPlan
from raysweep.sweep.cell import Cell, Repeat
from raysweep.sweep.sampler import trials_of
from raysweep.sweep.state import RepeatState, repeat_state
from raysweep.transfer.spec import TransferSpec

LEFT_OUT = "left out"
ENDED = ("done", LEFT_OUT)


@dataclass(frozen=True)
class CellProgress:
    """A cell's repeats, trials (over all repeats and folds) and finals.

    `state`: done | running | dead (begun, and nobody works on it) | failed | waiting, what one of its repeats is:
    failed before running or dead, these before waiting, and done last; left out: choices leave it no final. `best`: on
    val, the mean over the repeats that have one. `seconds`: those that its trials and finals are likely to take yet,
    one after another; None where no trial has been told by which to know.
    """

    name: str
    state: str
    reason: str
    repeats: tuple[int, int]  # done, of
    trials: tuple[int, int]  # told, of
    pruned: int
    failed: int
    running: int
    best: float | None
    select: str
    seconds: float | None = None

    def words(self) -> str:
        """All of it but the state, such as `2/6 repeats, 17/48 trials, 3 stopped early, best on val 0.812`."""
        found = "no final" if self.state == LEFT_OUT else f"{self.repeats[0]}/{self.repeats[1]} repeats"
        found += "" if self.trials[1] else ", no trials"
        if self.trials[0] or self.running:
            found += f", {self.trials[0]}/{self.trials[1]} trials"
            found += f", {self.pruned} stopped early" if self.pruned else ""
            found += f", {self.failed} failed" if self.failed else ""
        if self.best is not None:
            found += f", best {'loss ' if self.select == 'val_loss' else ''}on val {self.best:.3g}"
        if self.seconds and self.state not in ENDED:
            found += f", {span(self.seconds)} of trials left"
        return found


def search_progress(
    cells: Sequence[Cell],
    transfer: TransferSpec,
    tasks: Mapping[str, TaskPlan],
    *,
    running: bool,
    fates: Fates | None = None,
) -> list[CellProgress]:
    """One for each cell. `running`: somebody holds the study's lease. `fates`: what choices leave of each, default:
    all. WorkError when a journal is damaged.
    """
    found, left = [], []
    spent, told = 0.0, 0
    for cell in cells:
        folds = tasks[cell.task].n_folds
        states = [_state(repeat, running, fates.of(cell, repeat.number) if fates else "all") for repeat in cell.repeats]
        each = 0 if cell.frozen else trials_of(cell.space, transfer.sampler, transfer.trials) * folds
        begun = [state != LEFT_OUT or s.trials for state, _, s in states]
        planned = sum(each for r, one in zip(cell.repeats, begun, strict=True)
                      if one and (transfer.search == "each" or r.number == 0))  # fmt: skip
        made = _cell(cell, states, planned)
        seconds = sum(s.seconds for _, _, s in states)
        finals = sum(folds - s.finals_done for state, _, s in states if state != LEFT_OUT)
        found.append(made)
        left.append((planned - made.trials[0] + finals, seconds / made.trials[0] if made.trials[0] else None))
        spent, told = spent + seconds, told + made.trials[0]
    usual = spent / told if told else None
    of_one = [usual if own is None else own for _, own in left]
    return [
        replace(cell, seconds=None if one is None else n * one)
        for cell, (n, _), one in zip(found, left, of_one, strict=True)
    ]


def time_left(found: Sequence[CellProgress]) -> str:
    """`about 2.1 h of search left, 4 trials at once`; empty when nothing is left, or nothing is known."""
    seconds = sum(cell.seconds or 0.0 for cell in found if cell.state not in ENDED)
    if not seconds:
        return ""
    at_once = sum(cell.running for cell in found)
    if not at_once:
        return f"about {span(seconds)} of search left, one trial after another"
    return f"about {span(seconds / at_once)} of search left, {at_once} trial{'s' * (at_once > 1)} at once"


def _cell(cell: Cell, states: list[tuple[str, str, RepeatState]], planned: int) -> CellProgress:
    names = [state for state, _, _ in states]
    wanted = [name for name in names if name != LEFT_OUT]
    first = next((s for s in ("failed", "running", "dead", "waiting") if s in wanted), "done" if wanted else LEFT_OUT)
    counts = [s for _, _, s in states]
    best = [s.best for s in counts if s.best is not None]
    return CellProgress(
        name=cell.name.replace("/", " / "),
        state=first,
        reason=next((reason for state, reason, _ in states if state == first), ""),
        repeats=(names.count("done"), len(wanted)),
        trials=(sum(s.told for s in counts), planned),
        pruned=sum(s.pruned for s in counts),
        failed=sum(s.failed for s in counts),
        running=sum(s.running for state, _, s in states if state == "running"),
        best=sum(best) / len(best) if best else None,
        select=next((s.select for s in counts if s.select), ""),
    )


def _state(repeat: Repeat, running: bool, fate: Fate) -> tuple[str, str, RepeatState]:
    artefact = repeat.artefact
    if fate in OUT:
        return LEFT_OUT, fate, repeat_state(artefact.folder)
    if artefact.done():
        return "done", "", repeat_state(artefact.folder)
    reason = failure_of(artefact)
    if reason:
        return "failed", reason, repeat_state(artefact.folder)
    if not artefact.folder.names():
        return "waiting", "for the choice that comes first" if fate == "waits" else "", RepeatState("waiting")
    found = repeat_state(artefact.folder)
    if fate == "search" and found.trials and found.told >= found.trials:
        return "waiting", "for the choice among its grid's points", found
    state, why = ("running", "") if running else ("dead", "begun; run the study again to go on")
    return state, why, found
