"""Make the choices that can be made: rank checkpoints by what their repeats' own labels say, and put it on record."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import pyarrow as pa

from raysweep.errors import WorkError
from raysweep.study.cells import note_failure
from raysweep.study.choices import ChoicePlan
from raysweep.study.ranking import Ranked, rank_members
from raysweep.sweep.cell import Cell, Repeat
from raysweep.sweep.validation import Validation, validation_of

FILE = "choices.parquet"
_SCHEMA = pa.schema(
    [
        ("grid", pa.string()),  # whose points are chosen among; empty: the study's screen
        ("rule", pa.string()),  # own_val | rank_others | screen
        ("task", pa.string()),
        ("protocol", pa.string()),
        ("fraction", pa.float64()),
        ("repeat", pa.int32()),  # the one that the choice is for; null: all
        ("member", pa.string()),
        ("ranked_on", pa.string()),  # the task that the value is of
        ("value", pa.float64()),  # larger is better; null: it has none, and comes last
        ("n_repeats", pa.int32()),  # whose mean that is
        ("n_folds", pa.int32()),  # of the task that the value is of, whose mean each of them is
        ("by", pa.string()),  # what the value is, or why there is none
        ("rank", pa.float64()),  # null: the baseline of a screen, which goes on anyway
        ("mean_rank", pa.float64()),
        ("chosen", pa.bool_()),
    ]
)


def make_choices(plans: Sequence[ChoicePlan]) -> None:
    """Write each choice whose members' searches have all ended and that is not there yet: a function of these alone.

    The manifest says who was chosen, the table by which values. Where no member has a value it says so in
    `failed.json`. Raises WorkError when a journal is damaged or a table cannot be written.
    """
    known: dict[str, Validation] = {}
    for plan in plans:
        if plan.artefact.done():
            continue
        found = _values(plan, known)
        if found is None:
            continue
        ranked = [name for name in found if name != plan.baseline]
        values = {name: {on: one.value for on, (one, _) in found[name].items()} for name in ranked}
        try:
            result = rank_members(values, plan.keep)
        except WorkError as error:
            reason = next(one.by for ballot in found.values() for one, _ in ballot.values())
            note_failure(plan.artefact, f"{error} ({reason})")
            continue
        rows = [_row(plan, name, on, one, n, result.get(name))
                for name, ballot in found.items() for on, (one, n) in ballot.items()]  # fmt: skip
        plan.artefact.folder.write_table(pa.Table.from_pylist(rows, _SCHEMA), FILE)
        chosen = [name for name in found if name not in result or result[name].chosen]
        plan.artefact.commit(
            config={"grid": plan.grid, "rule": plan.rule, "task": plan.task, "protocol": plan.protocol,
                    "fraction": plan.fraction, "repeat": plan.repeat, "keep": plan.keep, "chosen": chosen},
            counts={"members": len(found), "chosen": len(chosen)},
            timings={},
        )  # fmt: skip


def _values(plan: ChoicePlan, known: dict[str, Validation]) -> dict[str, dict[str, tuple[Validation, int]]] | None:
    """Of each member on each task its value, and the number of repeats whose mean it is; None: a search has not ended.

    A mean of which a repeat lacks its value is none.
    """
    found: dict[str, dict[str, tuple[Validation, int]]] = {}
    for member, ballot in plan.ballots.items():
        for on, points in ballot.items():
            means = []
            for repeats in points:
                values = [_known(cell, repeat, known) for cell, repeat in repeats]
                if any(value is None for value in values):
                    return None
                means.append(_mean([value for value in values if value is not None]))
            best = max(means, key=lambda one: (one.value is not None, one.value or 0.0))
            found.setdefault(member, {})[on] = best, len(points[0])
    return found


def _known(cell: Cell, repeat: Repeat, known: dict[str, Validation]) -> Validation | None:
    """What was read before is not read again: a task ranks for all others."""
    root = repeat.artefact.folder.root
    if root not in known:
        value = validation_of(cell, repeat)
        if value is None:
            return None
        known[root] = value
    return known[root]


def _mean(values: list[Validation]) -> Validation:
    lacking = [one for one in values if one.value is None]
    if lacking:
        return lacking[0]
    by = "; ".join(sorted({one.by for one in values}))
    return Validation(fmean(one.value for one in values if one.value is not None), by, values[0].n_folds)


def _row(plan: ChoicePlan, member: str, on: str, one: Validation, n: int, ranked: Ranked | None) -> dict[str, Any]:
    return {
        "grid": plan.grid, "rule": plan.rule, "task": plan.task, "protocol": plan.protocol, "fraction": plan.fraction,
        "repeat": plan.repeat, "member": member, "ranked_on": on, "value": one.value, "n_repeats": n,
        "n_folds": one.n_folds, "by": one.by,
        "rank": ranked and ranked.ranks[on], "mean_rank": ranked and ranked.mean_rank,
        "chosen": ranked is None or ranked.chosen,
    }  # fmt: skip
