"""Would it have come out otherwise with fewer trials? Who leads on validation after 1, 2, ... trials of a search.

Journals hold what every trial scored on validation, so it is known which setting a shorter search would have chosen and
how it compared there. They do not hold what that setting's final would have scored: finals of other settings were never
trained. So nothing is said of verdicts themselves, only whether the lead on validation that a verdict goes with was
there from the first trial on, or came with a later one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raysweep.report.cells import CellRef, percent
from raysweep.report.family import BETTER, MUCH_BETTER, MUCH_WORSE, WORSE
from raysweep.report.findings import Comparison, TaskFindings
from raysweep.report.regret import SearchCurve
from raysweep.report.tables import Table, number

_HEADERS = ("task", "protocol", "fraction", "checkpoint", "baseline", "trials", "lead on val", "leads", "verdict")
_DIGITS = 12  # what is equal up to rounding is level
_NAMED = 6  # comparisons named in a sentence before "and N more"
_DECIDED = (MUCH_BETTER, BETTER, MUCH_WORSE, WORSE)


@dataclass(frozen=True)
class Lead:
    """Of one comparison: the checkpoint's lead over the baseline on validation after 1, 2, ... trials (nan before both
    have a value); above 0 it leads, by whatever settings are chosen by.

    settled: the number of trials from which on the same one leads as at the end; 0 where at the end neither does.
    """

    comparison: Comparison
    after: np.ndarray
    settled: int


def leads(
    tasks: Sequence[TaskFindings], cells: Sequence[CellRef], curves: Mapping[str, SearchCurve], baseline: str
) -> list[Lead]:
    """Of every comparison of the primary families with the baseline, in their order, where both were searched with two
    trials or more and settings were chosen alike. cells: finished ones, the baseline's among them."""
    base = {(c.task, c.protocol, c.fraction): curves[c.path] for c in cells
            if c.checkpoint == baseline and not c.tested_on and c.path in curves}  # fmt: skip
    out = []
    for found in tasks:
        for c in found.comparisons:
            ours, theirs = curves.get(c.cell.path), base.get((c.cell.task, c.cell.protocol, c.cell.fraction))
            if ours is None or theirs is None or ours.select != theirs.select:
                continue
            n = min(len(ours.best), len(theirs.best))
            if n > 1:
                ahead = (ours.best[:n] - theirs.best[:n]) * (-1 if ours.select == "val_loss" else 1)
                after = np.round(ahead, _DIGITS)
                out.append(Lead(c, after, _settled(after)))
    return out


def _settled(after: np.ndarray) -> int:
    """From which number of trials on the sign is the last one's; 0 where that is none."""
    signs = np.sign(after)
    if not signs[-1] or np.isnan(signs[-1]):
        return 0
    others = np.flatnonzero(signs != signs[-1])
    return int(others[-1]) + 2 if len(others) else 1


def fewer_trials(found: Sequence[Lead], baseline: str) -> tuple[list[str], Table]:
    """A sentence for each task, and a row for each comparison and number of trials."""
    of: dict[str, list[Lead]] = {}
    for lead in found:
        of.setdefault(lead.comparison.cell.task, []).append(lead)
    rows = []
    for lead in found:
        c = lead.comparison
        word = c.verdict.word if c.verdict else ""
        for i, value in enumerate(lead.after):
            who = "" if value != value else "neither" if not value else c.cell.checkpoint if value > 0 else baseline
            rows.append([c.cell.task, c.cell.protocol, f"{c.cell.fraction:g}", c.cell.checkpoint, baseline, str(i + 1),
                         number(float(value), sign=True), who, word])  # fmt: skip
    numbers = frozenset({"fraction", "trials", "lead on val"})
    return [_sentence(task, own, baseline) for task, own in of.items()], Table("fewer_trials", _HEADERS, rows, numbers)


def _sentence(task: str, own: Sequence[Lead], baseline: str) -> str:
    changed = [lead for lead in own if lead.settled > 1]
    level = [lead for lead in own if not lead.settled]
    steady = len(own) - len(changed) - len(level)
    parts = [
        f"{task}: {_of(steady, len(own))} with {baseline} the one that leads on validation after all trials leads "
        "after the first"
    ]
    if changed:
        parts.append(f"with fewer trials another would have led for {_named(changed)}")
    if level:
        parts.append(f"neither leads at the end for {_series([_where(lead) for lead in level])}")
    against = [lead for lead in own if lead.settled and _against(lead)]
    if against:
        parts.append(
            f"against its verdict on the test set is the lead on validation of {_series([_where(x) for x in against])}"
        )
    return "; ".join(parts) + "."


def _of(n: int, total: int) -> str:
    if total == 1:
        return "in the one comparison" if n else "not in the one comparison"
    return f"in {n} of {total} comparisons"


def _named(changed: Sequence[Lead]) -> str:
    """`simclr at 10 % (up to trial 2 of 5; its verdict is better)`, those with a verdict first."""
    ordered = sorted(changed, key=lambda lead: not _decided(lead))
    words = []
    for lead in ordered:
        verdict = lead.comparison.verdict
        found = f"; its verdict is {verdict.word}" if verdict and _decided(lead) else ""
        words.append(f"{_where(lead)} (with up to {lead.settled - 1} of {len(lead.after)}{found})")
    return _series(words)


def _where(lead: Lead) -> str:
    return f"{lead.comparison.cell.checkpoint} at {percent(lead.comparison.cell.fraction)}"


def _decided(lead: Lead) -> bool:
    return lead.comparison.verdict is not None and lead.comparison.verdict.word in _DECIDED


def _against(lead: Lead) -> bool:
    """Whether the one that leads on validation at the end was found worse on the test set."""
    verdict = lead.comparison.verdict
    if verdict is None or not _decided(lead):
        return False
    return (lead.after[-1] > 0) != (verdict.word in (MUCH_BETTER, BETTER))


def _series(words: Sequence[str]) -> str:
    more = [f"{len(words) - _NAMED} more"] if len(words) > _NAMED else []
    return ", ".join([*words[:_NAMED], *more])
