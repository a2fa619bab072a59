"""What each repeat of each cell is to have, as far as the study's choices have been made."""

from collections.abc import Mapping, Sequence
from typing import Literal

from raysweep.study.checkpoints import CheckpointPlan
from raysweep.study.choices import ChoicePlan
from raysweep.sweep.cell import Cell
from raysweep.transfer.protocol import get_protocol

Fate = Literal["all", "search", "waits", "screened out", "not chosen"]
OUT = ("screened out", "not chosen")  # nothing more is made of it


class Fates:
    """Reads the choices from their manifests, each once."""

    def __init__(self, choices: Sequence[ChoicePlan], checkpoints: Mapping[str, CheckpointPlan]) -> None:
        self._checkpoints = checkpoints
        self._plans = {_key(c.grid, c.rule, c.task, c.protocol, c.fraction, c.repeat): c for c in choices}
        self._chosen: dict[str, list[str] | None] = {}

    def of(self, cell: Cell, number: int) -> Fate:
        """What a repeat is to have: `all`, its search alone (the final waits for a choice), nothing before a choice is
        made (`waits`), or nothing more, because it is screened out or another point is chosen.

        A frozen protocol has no search that could be spared: its repeats have all.
        """
        plan = self._checkpoints[cell.checkpoint]
        if cell.frozen:
            return "all"
        screens = [(_key("", "screen", cell.task), plan.row)]
        if plan.choose == "screen":
            screens.append((_key(plan.grid, "screen", cell.task), plan.name))
        for key, name in screens:
            if key in self._plans:
                chosen = self._read(self._plans[key])
                if chosen is None:
                    return "waits"
                if name not in chosen:
                    return "screened out"
        if plan.choose in (None, "screen"):
            return "all"
        chosen = self._of_grid(plan, cell, number)
        if chosen is None:
            return "waits" if plan.choose_by else "search"
        return "all" if plan.name in chosen else "not chosen"

    def shows(self, cell: Cell, number: int) -> bool | None:
        """Whether the repeat stands in the tables for its row; None: the choice that would say so is not made."""
        plan = self._checkpoints[cell.checkpoint]
        if plan.choose is None:
            return True
        chosen = self._of_grid(plan, cell, number)
        return None if chosen is None else plan.name in chosen

    def needs(self, choice: ChoicePlan) -> bool:
        """Whether a choice is to be made: not among points of a grid that is screened out, as it has no search."""
        key = _key("", "screen", choice.task)
        if not choice.grid or choice.rule == "screen" or get_protocol(choice.protocol).frozen or key not in self._plans:
            return True
        chosen = self._read(self._plans[key])
        return chosen is None or choice.grid in chosen

    def _of_grid(self, plan: CheckpointPlan, cell: Cell, number: int) -> list[str] | None:
        assert plan.choose is not None
        key = _key(plan.grid, plan.choose, cell.task, cell.protocol, cell.fraction, number)
        return self._read(self._plans[key])

    def _read(self, plan: ChoicePlan) -> list[str] | None:
        root = plan.artefact.folder.root
        if root not in self._chosen:
            self._chosen[root] = plan.artefact.manifest()["config"]["chosen"] if plan.artefact.done() else None
        return self._chosen[root]


def _key(
    grid: str, rule: str, task: str, protocol: str = "", fraction: float = 0.0, repeat: int | None = None
) -> tuple[str | float | int | None, ...]:
    """What a choice is for: a screen's for all of a task, one by rank for all repeats."""
    if rule == "screen":
        return grid, rule, task
    return (grid, rule, task, protocol, fraction) + (() if rule == "rank_others" else (repeat,))
