"""The checkpoints of a study: where each starts, what it sees, a folder for each pretraining; and making them."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from raysweep.addresses import at_home
from raysweep.errors import RequestError, WorkError
from raysweep.patches.write import INDEX, contents
from raysweep.pretrain.inputs import check_method, checkpoint_inputs
from raysweep.pretrain.probe import ProbeInput
from raysweep.pretrain.source import SourceInput
from raysweep.pretrain.spec import CheckpointSpec, Choose
from raysweep.progress import Progress
from raysweep.storage import MANIFEST, Artefact, Storage
from raysweep.study.families import Entry, Pool, pools_of
from raysweep.study.grids import expand_grids
from raysweep.study.inits import WORDS, Start, find_starts, inherit
from raysweep.study.model import Study
from raysweep.study.patch_sets import PatchSetPlan
from raysweep.study.sources import SourcePlan
from raysweep.study.tasks import TaskPlan


@dataclass(frozen=True)
class Pretraining:
    """One folder of a checkpoint: an init trained with one seed on one pool, or the init itself."""

    artefact: Artefact
    init: Storage | None  # the folder of the checkpoint that it starts from
    seed: int  # which of the independent pretrainings
    pool: Pool  # of a family: what this member sees


@dataclass(frozen=True)
class CheckpointPlan:
    """A checkpoint and its pretrainings; `spec` has its backbone and no grid.

    There is a pretraining for each seed, and of a family one for each member and seed; of a random init without
    training, which is drawn anew for every repeat, one for each repeat.
    """

    name: str
    spec: CheckpointSpec
    pretrainings: list[Pretraining]
    pools: Mapping[tuple[str, int], Pool]  # of a family: what the member for each (task, fold) sees
    parent: str | None  # the checkpoint of this study that it starts from
    inputs: Mapping[Entry, SourceInput]  # all that its pretrainings draw from
    patch_sets: list[str]  # those of this study that it sees
    labelled_sets: list[str]  # that are written as patch sets for it
    probed: Storage | None = None  # the index of the task that it is probed with
    grid: str = ""  # the one that it is a point of, where `choose` takes one of its points
    choose: Choose | None = None
    choose_by: str | None = None  # the frozen protocol whose values rank the points for every protocol

    @property
    def row(self) -> str:
        """What tables call it: points that are chosen among share a row."""
        return self.grid or self.name

    @property
    def artefacts(self) -> list[Artefact]:
        return [p.artefact for p in self.pretrainings]

    def labelled(self) -> list[tuple[str, list[Artefact]]]:
        """What people are shown of it: each pretraining by itself, draws of a random init as one."""
        name = f"checkpoint {self.name}"
        if self.spec.method is None or len(self.pretrainings) == 1:
            return [(name, self.artefacts)]
        pools = list(dict.fromkeys(p.pool for p in self.pretrainings))
        member = {pool: f" member {i}" if len(pools) > 1 else "" for i, pool in enumerate(pools)}
        return [(f"{name}{member[p.pool]} seed {p.seed}", [p.artefact]) for p in self.pretrainings]

    def sources_of(self, made: Pretraining) -> list[SourceInput]:
        """What one of its pretrainings draws from, in the order of its pool."""
        return [self.inputs[entry] for entry in made.pool or _whole(self.spec)]

    def fold_of(self, made: Pretraining) -> int:
        """The fold whose train split a pretraining is probed with: that of a family's member, else the first."""
        task = self.spec.probe.task if self.spec.probe else ""
        return min((fold for (name, fold), pool in self.pools.items() if (name, pool) == (task, made.pool)), default=0)

    def of(self, task: str, fold: int, repeat: int) -> Pretraining:
        """The weights that a repeat starts from in a fold of a task."""
        pool = self.pools.get((task, fold), ())
        own = [p for p in self.pretrainings if p.pool == pool]
        return own[repeat % len(own)]


def plan_checkpoints(
    study: Study,
    home: Storage,
    patch_sets: Mapping[str, PatchSetPlan],
    sources: Mapping[str, SourcePlan],
    tasks: Mapping[str, TaskPlan],
    folder: Path,
) -> dict[str, CheckpointPlan]:
    """The checkpoints of a study, each after the one it starts from. `folder` is where paths start.

    Raises RequestError for an unknown init, source or method, for a chain with a loop, for repeats that would give
    pretraining seeds unequal weights, and for a checkpoint that would see the images that it is tested on.
    """
    expanded = expand_grids(study.checkpoints)
    specs = {name: own.spec for name, own in expanded.items()}
    planner = _Planner(study, home, patch_sets, sources, tasks, folder)
    for name in _in_order(specs):
        try:
            planner.plans[name] = planner.plan(name, specs[name])
        except RequestError as error:
            raise RequestError(f"checkpoints.{name}: {error}") from error
    return {name: replace(planner.plans[name], grid=own.grid, choose=own.choose, choose_by=own.choose_by)
            for name, own in expanded.items()}  # fmt: skip


def make_checkpoint(plan: CheckpointPlan, made: Pretraining, study: Study, progress: Progress, *, name: str) -> None:
    """Make one of its folders, which is shown as `name`; with a method, Ray is initialised.

    Raises WorkError when its init or what it draws from is not there, and whatever `pretrain` raises.
    """
    from raysweep.pretrain.launch import pretrain

    if made.init is not None and not made.init.exists(MANIFEST):
        raise WorkError(f"its init {plan.parent or plan.spec.init} could not be made")
    sources = plan.sources_of(made)
    for source in sources:
        if not source.folder.exists(MANIFEST):
            raise WorkError(f"its patch set {source.name} could not be made")
    probe = None
    if plan.spec.probe and plan.probed and study.data:
        probe = ProbeInput(plan.probed, study.data, plan.fold_of(made), plan.spec.probe.every)
    pretrain(plan.spec, made.artefact, name=name, init=made.init, sources=sources, seed=study.seed,
             pretraining_seed=made.seed, team=study.compute.team(), progress=progress, study=study.name,
             probe=probe)  # fmt: skip


class _Planner:
    def __init__(
        self,
        study: Study,
        home: Storage,
        patch_sets: Mapping[str, PatchSetPlan],
        sources: Mapping[str, SourcePlan],
        tasks: Mapping[str, TaskPlan],
        folder: Path,
    ) -> None:
        self._study, self._home, self._patch_sets, self._sources = study, home, patch_sets, sources
        self._tasks, self._folder = tasks, folder
        self.plans: dict[str, CheckpointPlan] = {}

    def plan(self, name: str, spec: CheckpointSpec) -> CheckpointPlan:
        parent = None if spec.init in WORDS else self.plans.get(spec.init)
        if parent:
            if parent.pools:
                raise RequestError(f"init {spec.init} differs from task to task; start from one checkpoint")
            spec = inherit(spec, parent.spec.backbone)
            starts = [Start(a.folder, a.fingerprint) for a in parent.artefacts]
        else:
            spec, starts = find_starts(spec, self._folder, Storage.open(self._study.storage), list(self.plans))
        check_method(spec)
        pools = pools_of(spec, {task: plan.n_folds for task, plan in self._tasks.items()})
        self._check_unseen(spec)
        probed = self._probed(spec)
        given: list[Pool] = list(dict.fromkeys(pools.values())) or [()]
        entries = dict.fromkeys(entry for pool in given for entry in pool or _whole(spec))
        found = {entry: self._input(spec, *entry) for entry in entries}
        inputs = {entry: source for entry, (source, _) in found.items()}
        pretrainings = []
        for pool in given:
            seen = [[found[entry][1], inputs[entry].weight] for entry in pool or _whole(spec)]
            covered: Any = seen or None
            if isinstance(spec.patches, str) and not pool:
                covered = seen[0][0]
            for seed in range(self._seeds(spec, starts)):
                start = starts[seed % len(starts)]
                decides = checkpoint_inputs(spec, seed=self._study.seed, pretraining_seed=seed, init=start.identity,
                                            patches=covered)  # fmt: skip
                artefact = Artefact(self._home.at("checkpoints", name), decides)
                pretrainings.append(Pretraining(artefact, start.folder, seed, pool))
        names = list(dict.fromkeys(source for source, _ in inputs))
        own = [source for source in names if source in self._patch_sets]
        labelled = [source for source in names if source not in own and source in self._sources]
        return CheckpointPlan(name, spec, pretrainings, pools, spec.init if parent else None, inputs, own, labelled,
                              probed)  # fmt: skip

    def _seeds(self, spec: CheckpointSpec, starts: list[Start]) -> int:
        """How many pretrainings: every one must weigh the same in the mean over repeats."""
        repeats = self._study.transfer.repeats
        if spec.init == "random" and not spec.method:
            return repeats
        count = spec.seeds if spec.method else len(starts)
        if self._study.tasks and repeats % count:
            raise RequestError(
                f"seeds: {repeats} repeats cannot use {count} pretrainings equally often; make transfer.repeats a "
                "multiple of that number"
            )
        return count

    def _check_unseen(self, spec: CheckpointSpec) -> None:
        """Only a family has a member for each fold; other checkpoints see the whole of a set without official split."""
        for name in [] if spec.leave_out or spec.join else spec.sources:
            source = self._sources.get(name)
            if name not in self._patch_sets and source and source.tested and not source.task.card.splits.fixed:
                raise RequestError(
                    f"patches: {name} is a task of this study without an official split, so the images that test a "
                    "checkpoint would be seen by it; set leave_out: each or join: target"
                )

    def _probed(self, spec: CheckpointSpec) -> Storage | None:
        """The index of the task that it is probed with."""
        if spec.probe is None:
            return None
        known = [name for name, plan in self._tasks.items() if plan.task.card.kind == "classification"]
        if spec.probe.task not in known:
            hint = f"choose one of {', '.join(known)}" if known else "it has none, so leave probe out"
            raise RequestError(f"probe.task: {spec.probe.task} is not a classification task of this study; {hint}")
        return self._tasks[spec.probe.task].artefact.folder

    def _input(self, spec: CheckpointSpec, name: str, fold: int | None) -> tuple[SourceInput, str]:
        """A source, and the fingerprint of what is seen of it."""
        weight = spec.weight_of(name)
        if name in self._patch_sets:
            plan = self._patch_sets[name]
            return SourceInput(name, plan.artefact.folder, weight), plan.contents
        if name in self._sources:
            source = self._sources[name]
            made = SourceInput(name, source.artefact.folder, weight, source.index.folder, fold)
            return made, source.seen(fold, self._study.seed)
        folder = self._elsewhere(name)
        return SourceInput(name, folder, weight), contents(folder)

    def _elsewhere(self, name: str) -> Storage:
        """A finished patch set that is named by its folder."""
        if "/" in name:
            folder = Storage.open(name if "://" in name else self._folder / at_home(name))
            if folder.exists(MANIFEST) and folder.exists(INDEX):
                return folder
            raise RequestError(f"patches {name}: there is no finished patch set in this folder")
        known = [*self._patch_sets, *self._tasks]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(known) or 'none'}, and any card"
        raise RequestError(f"patches {name} is neither a patch set or task of this study nor a card; {hint}")


def _whole(spec: CheckpointSpec) -> Pool:
    """The pool of a checkpoint that is no family: all that its sources may show."""
    return tuple((source, None) for source in dict.fromkeys(spec.sources))


def _in_order(specs: dict[str, CheckpointSpec]) -> Iterable[str]:
    """Names with each after its init. Raises RequestError naming the loop of a chain that has one."""
    for start in specs:
        chain = [start]
        while (init := specs[chain[-1]].init) in specs and init not in WORDS:
            chain.append(init)
            if init in chain[:-1]:
                loop = " -> ".join(chain[chain.index(init) :])
                raise RequestError(
                    f"checkpoints.{start}.init: the chain has a loop ({loop}); start it from random or timm"
                )
        yield from reversed(chain)
