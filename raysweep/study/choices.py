"""What a study chooses among its checkpoints: who is ranked, on what, and the folder of each choice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysweep.errors import RequestError
from raysweep.pretrain.spec import Choose
from raysweep.storage import Artefact, Storage
from raysweep.study.checkpoints import CheckpointPlan
from raysweep.study.model import Study
from raysweep.study.tasks import TaskPlan
from raysweep.sweep.cell import Cell, Repeat
from raysweep.transfer.protocol import get_protocol, protocol_names

_FORMAT = 1  # raise it when the same values would give another choice
_SCREEN = "_screen"  # the folder of the study's screen: no checkpoint has such a name
_FEWEST_OTHERS = 2  # tasks: ranks on a single one are that one's values

Ballot = Mapping[str, Sequence[Sequence[tuple[Cell, Repeat]]]]


@dataclass(frozen=True)
class ChoicePlan:
    """One choice: `keep` of the members, for one task.

    grid: whose points are chosen among; empty: the study's screen, whose members are rows of the tables. rule, and
    protocol and fraction whose values decide. repeat: the one that it is for; None: for all. ballots: of each member,
    by the task that it is ranked on, the repeats whose mean is its value; of a grid in the study's screen there are
    several points, and the best one's is the grid's. baseline: of the study's screen, the member that goes on anyway.
    """

    grid: str
    rule: Choose
    task: str
    protocol: str
    fraction: float
    repeat: int | None
    keep: int
    ballots: Mapping[str, Ballot]
    artefact: Artefact
    baseline: str = ""

    @property
    def name(self) -> str:
        """What people call it."""
        what = f"screen of task {self.task}" if not self.grid else f"choice of {self.grid} for task {self.task}"
        if self.rule == "screen":
            return what
        what += f", {self.protocol} at {self.fraction:g}"
        return what if self.repeat is None else f"{what}, repeat {self.repeat}"


def check_choices(study: Study, checkpoints: Mapping[str, CheckpointPlan], tasks: Mapping[str, TaskPlan]) -> None:
    """Raise RequestError for a screen or a `choose` that this study cannot have, naming the key."""
    _check_screen(study, checkpoints, tasks)
    for plan in checkpoints.values():
        where = f"checkpoints.{plan.grid}.choose"
        if plan.choose == "screen" and study.transfer.screen is None:
            raise RequestError(f"{where}: screen needs the key transfer.screen, such as {{protocol: linear, keep: 5}}")
        if plan.choose != "rank_others":
            continue
        if study.transfer.screen is not None and plan.grid != study.compare.baseline:
            raise RequestError(f"{where}: rank_others needs the grid's searches on every task, and transfer.screen may "
                               "leave them out; take own_val, or leave the screen out")  # fmt: skip
        _check_choose_by(plan, study, tasks)
        for task in tasks:
            for protocol in study.transfer.protocols_for(tasks[task].task.card.kind):
                protocol = plan.choose_by or protocol
                others = _others(plan, task, protocol, study, tasks)
                if len(others) < _FEWEST_OTHERS:
                    found = f"only {others[0]}" if others else "none"
                    raise RequestError(
                        f"{where}: rank_others ranks on {_FEWEST_OTHERS} unrelated other tasks at least, and for task "
                        f"{task} under {protocol} there is {found}; add tasks, or take own_val"
                    )


def plan_choices(
    study: Study,
    home: Storage,
    checkpoints: Mapping[str, CheckpointPlan],
    tasks: Mapping[str, TaskPlan],
    cells: Sequence[Cell],
) -> list[ChoicePlan]:
    """Every choice of a study that `check_choices` lets pass."""
    planner = _Planner(study, home, checkpoints, tasks, cells)
    screen = study.transfer.screen
    grids = dict.fromkeys((plan.grid, plan.choose) for plan in checkpoints.values())
    found = []
    for task in tasks:
        protocols = study.transfer.protocols_for(tasks[task].task.card.kind)
        for grid, rule in grids:
            if rule == "screen":
                found.append(planner.screen(grid, task, 1))
            elif rule is not None:
                found += [
                    plan
                    for protocol in protocols
                    for fraction in study.transfer.fractions
                    for plan in planner.of_grid(grid, rule, task, protocol, fraction)
                ]
        if screen and any(not get_protocol(protocol).frozen for protocol in protocols):
            found.append(planner.screen("", task, screen.keep))
    return found


class _Planner:
    def __init__(
        self,
        study: Study,
        home: Storage,
        checkpoints: Mapping[str, CheckpointPlan],
        tasks: Mapping[str, TaskPlan],
        cells: Sequence[Cell],
    ) -> None:
        self._study, self._home, self._tasks = study, home, tasks
        self._cells = {(c.checkpoint, c.task, c.protocol, c.fraction): c for c in cells}
        self._rows: dict[str, list[CheckpointPlan]] = {}
        for plan in checkpoints.values():
            self._rows.setdefault(plan.row, []).append(plan)

    def of_grid(self, grid: str, rule: Choose, task: str, protocol: str, fraction: float) -> list[ChoicePlan]:
        """The choices of a grid's point for a cell: one for each repeat, or one for all of them."""
        points = self._rows[grid]
        repeats = range(self._study.transfer.repeats)
        if rule == "own_val":
            return [
                self._plan(grid, rule, task, protocol, fraction, 1, repeat=number,
                           ballots={p.name: {task: [self._values(p, task, protocol, fraction, [number])]}
                                    for p in points})
                for number in repeats
            ]  # fmt: skip
        by = points[0].choose_by or protocol
        others = _others(points[0], task, by, self._study, self._tasks)
        ballots = {p.name: {other: [self._values(p, other, by, fraction, repeats)] for other in others}
                   for p in points}  # fmt: skip
        return [self._plan(grid, rule, task, protocol, fraction, 1, ballots=ballots)]

    def screen(self, grid: str, task: str, keep: int) -> ChoicePlan:
        """The choice by the study's screen: of a grid's point, or of the rows that are searched."""
        transfer = self._study.transfer
        assert transfer.screen is not None
        protocol, fraction = transfer.screen.protocol, transfer.fractions[-1]

        def of(plan: CheckpointPlan) -> list[tuple[Cell, Repeat]]:
            return self._values(plan, task, protocol, fraction, range(transfer.repeats))

        if grid:
            ballots = {plan.name: {task: [of(plan)]} for plan in self._rows[grid]}
        else:
            ballots = {row: {task: [of(plan) for plan in plans]} for row, plans in self._rows.items()}
        baseline = "" if grid else self._study.compare.baseline or ""
        return self._plan(grid, "screen", task, protocol, fraction, keep, ballots=ballots, baseline=baseline)

    def _values(
        self, plan: CheckpointPlan, task: str, protocol: str, fraction: float, repeats: Sequence[int]
    ) -> list[tuple[Cell, Repeat]]:
        """The repeats, and with `search: once` in place of each the one that is searched for it."""
        cell = self._cells[plan.name, task, protocol, fraction]
        once = self._study.transfer.search == "once" and not cell.frozen
        return [(cell, cell.repeats[0 if once else number]) for number in repeats]

    def _plan(
        self, grid: str, rule: Choose, task: str, protocol: str, fraction: float, keep: int, *,
        ballots: Mapping[str, Ballot], repeat: int | None = None, baseline: str = "",
    ) -> ChoicePlan:  # fmt: skip
        home = self._home.at("choices", grid or _SCREEN, task, protocol, f"{fraction:g}")
        inputs: dict[str, Any] = {
            "stage": "choice", "format": _FORMAT, "rule": rule, "keep": keep, "baseline": baseline, "repeat": repeat,
            "members": [[member, [[on, _prints(points)] for on, points in ballot.items()]]
                        for member, ballot in ballots.items()],
        }  # fmt: skip
        return ChoicePlan(grid, rule, task, protocol, fraction, repeat, keep, ballots, Artefact(home, inputs), baseline)


def _prints(points: Sequence[Sequence[tuple[Cell, Repeat]]]) -> list[list[list[Any]]]:
    return [[[r.artefact.fingerprint, r.number] for _, r in repeats] for repeats in points]


def _others(plan: CheckpointPlan, task: str, protocol: str, study: Study, tasks: Mapping[str, TaskPlan]) -> list[str]:
    """The tasks whose values may rank a grid's points for a task: neither itself nor one that leaves with it."""
    groups = plan.spec.leave_out if isinstance(plan.spec.leave_out, list) else []
    related = {task}.union(*(group for group in groups if task in group))
    return [other for other in tasks if other not in related
            and protocol in study.transfer.protocols_for(tasks[other].task.card.kind)]  # fmt: skip


def _check_choose_by(plan: CheckpointPlan, study: Study, tasks: Mapping[str, TaskPlan]) -> None:
    """A protocol that ranks for the others is frozen, so that it is there before any search, and is used."""
    if plan.choose_by is None:
        return
    where, frozen = f"checkpoints.{plan.grid}.choose_by", [p for p in protocol_names() if get_protocol(p).frozen]
    if plan.choose_by not in frozen:
        raise RequestError(f"{where}: {plan.choose_by} is no frozen protocol; use one of {', '.join(frozen)}")
    if not any(plan.choose_by in study.transfer.protocols_for(task.task.card.kind) for task in tasks.values()):
        raise RequestError(f"{where}: {plan.choose_by} is not among transfer.protocols; add it there")


def _check_screen(study: Study, checkpoints: Mapping[str, CheckpointPlan], tasks: Mapping[str, TaskPlan]) -> None:
    transfer, key = study.transfer, "transfer.screen"
    if transfer.screen is None:
        return
    name = transfer.screen.protocol
    frozen = [one for one in protocol_names() if get_protocol(one).frozen]
    if name not in frozen:
        raise RequestError(f"{key}.protocol: {name} is no frozen protocol; use one of {', '.join(frozen)}")
    for task, plan in tasks.items():
        kind = plan.task.card.kind
        if kind not in get_protocol(name).kinds:
            raise RequestError(
                f"{key}.protocol: {name} cannot do task {task} ({kind}), so nobody can be screened for it; put "
                "the task into a study without a screen"
            )
        if name not in transfer.protocols_for(kind):
            raise RequestError(f"{key}.protocol: {name} is not among transfer.protocols of {kind}; add it there")
    if study.compare.baseline is None:
        raise RequestError(f"{key}: name the checkpoint that is never screened out as compare.baseline")
    others = {plan.row for plan in checkpoints.values()} - {study.compare.baseline}
    if transfer.screen.keep > len(others):
        raise RequestError(
            f"{key}.keep: {transfer.screen.keep} is more than the {len(others)} checkpoints beside the baseline; lower "
            "it, or leave screen out"
        )
