"""The checkpoints of a study: where each starts, what it sees, a folder for each pretraining; and making them."""

import difflib
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from raysweep.errors import RequestError, WorkError
from raysweep.patches.write import INDEX, contents
from raysweep.pretrain.inputs import check_method, checkpoint_inputs
from raysweep.pretrain.spec import CheckpointSpec
from raysweep.progress import Progress
from raysweep.storage import MANIFEST, Artefact, Storage
from raysweep.study.families import Pool, pools_of
from raysweep.study.inits import WORDS, Start, find_starts, inherit
from raysweep.study.load import explain
from raysweep.study.model import Study
from raysweep.study.patch_sets import PatchSetPlan
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
    patch_sets: list[str]  # those of this study that it sees
    patches: Storage | None  # the one patch set of a method that takes no pool

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

    def of(self, task: str, fold: int, repeat: int) -> Pretraining:
        """The weights that a repeat starts from in a fold of a task."""
        pool = self.pools.get((task, fold), ())
        own = [p for p in self.pretrainings if p.pool == pool]
        return own[repeat % len(own)]


def plan_checkpoints(
    study: Study,
    home: Storage,
    patch_sets: dict[str, PatchSetPlan],
    tasks: dict[str, TaskPlan],
    folder: Path,
) -> dict[str, CheckpointPlan]:
    """The checkpoints of a study, each after the one it starts from. `folder` is where paths start.

    Raises RequestError for an unknown init, patch set or method, for a chain with a loop, and for repeats that would
    give pretraining seeds unequal weights.
    """
    specs = _expand_grids(study.checkpoints)
    planner = _Planner(study, home, patch_sets, tasks, folder)
    for name in _in_order(specs):
        try:
            planner.plans[name] = planner.plan(name, specs[name])
        except RequestError as error:
            raise RequestError(f"checkpoints.{name}: {error}") from error
    return {name: planner.plans[name] for name in specs}


def make_checkpoint(plan: CheckpointPlan, made: Pretraining, study: Study, progress: Progress) -> None:
    """Make one of its folders; with a method, Ray is initialised.

    Raises WorkError when its init or its patch set is not there, and whatever `pretrain` raises.
    """
    from raysweep.pretrain.launch import pretrain

    if made.init is not None and not made.init.exists(MANIFEST):
        raise WorkError(f"its init {plan.parent or plan.spec.init} could not be made")
    if plan.patches is not None and not plan.patches.exists(MANIFEST):
        raise WorkError(f"its patch set {', '.join(plan.patch_sets)} could not be made")
    pretrain(plan.spec, made.artefact, name=plan.name, init=made.init, patches=plan.patches, seed=study.seed,
             pretraining_seed=made.seed, workers=study.compute.workers, threads=study.compute.threads,
             progress=progress)  # fmt: skip


class _Planner:
    def __init__(
        self,
        study: Study,
        home: Storage,
        patch_sets: dict[str, PatchSetPlan],
        tasks: dict[str, TaskPlan],
        folder: Path,
    ) -> None:
        self._study, self._home, self._patch_sets, self._tasks, self._folder = study, home, patch_sets, tasks, folder
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
        patches, seen = self._sources(spec)
        pretrainings = []
        for pool in dict.fromkeys(pools.values()) if pools else [()]:
            covered: Any = [[seen[source], fold] for source, fold in pool] if pool else seen.get(str(spec.patches))
            if not pool and spec.method and not isinstance(spec.patches, str):
                covered = [[seen[source], None] for source in spec.sources]
            for seed in range(self._seeds(spec, starts)):
                start = starts[seed % len(starts)]
                inputs = checkpoint_inputs(spec, seed=self._study.seed, pretraining_seed=seed, init=start.identity,
                                           patches=covered)  # fmt: skip
                artefact = Artefact(self._home.at("checkpoints", name), inputs)
                pretrainings.append(Pretraining(artefact, start.folder, seed, pool))
        own = [source for source in spec.sources if source in self._patch_sets]
        return CheckpointPlan(name, spec, pretrainings, pools, spec.init if parent else None, own, patches)

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

    def _sources(self, spec: CheckpointSpec) -> tuple[Storage | None, dict[str, str]]:
        """The folder of a single patch set, and the fingerprint of everything that is seen, by name."""
        seen: dict[str, str] = {}
        folder = None
        joined = list(self._tasks) if spec.join else []
        for name in dict.fromkeys([*spec.sources, *joined]):
            if name in self._patch_sets:
                folder, seen[name] = self._patch_sets[name].artefact.folder, self._patch_sets[name].contents
            elif name in self._tasks and not isinstance(spec.patches, str):
                seen[name] = self._tasks[name].artefact.fingerprint
            else:
                folder = self._elsewhere(name)
                seen[name] = contents(folder)
        return (folder if isinstance(spec.patches, str) else None), seen

    def _elsewhere(self, name: str) -> Storage:
        """A finished patch set that is named by its folder."""
        if "/" in name:
            folder = Storage.open(name if "://" in name else self._folder / Path(name).expanduser())
            if folder.exists(MANIFEST) and folder.exists(INDEX):
                return folder
            raise RequestError(f"patches {name}: there is no finished patch set in this folder")
        near = difflib.get_close_matches(name, list(self._patch_sets), n=1)
        known = ", ".join(self._patch_sets) or "none"
        hint = f"did you mean {near[0]}?" if near else f"patch sets of this study: {known}"
        raise RequestError(f"patches {name} is not a patch set of this study; {hint}")


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


def _expand_grids(specs: dict[str, CheckpointSpec]) -> dict[str, CheckpointSpec]:
    expanded: dict[str, CheckpointSpec] = {}
    for name, spec in specs.items():
        if not spec.grid:
            expanded[name] = spec
            continue
        for values in itertools.product(*spec.grid.values()):
            point = dict(zip(spec.grid, values, strict=True))
            suffix = "-".join(f"{key}{value}" for key, value in point.items())
            expanded[f"{name}-{suffix}"] = _at_point(name, spec, point)
    return expanded


def _at_point(name: str, spec: CheckpointSpec, point: dict[str, Any]) -> CheckpointSpec:
    """The spec at one grid point; keys that are not the checkpoint's own are options of its method."""
    data = spec.model_dump(exclude={"grid"})
    for key, value in point.items():
        (data if key in CheckpointSpec.model_fields else data["options"])[key] = value
    try:
        return CheckpointSpec.model_validate(data)
    except ValidationError as error:
        raise RequestError(f"checkpoints.{name}.grid: {explain(error, CheckpointSpec)}") from error
