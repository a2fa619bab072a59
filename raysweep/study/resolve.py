"""From a study to the artefacts it needs: every folder, what goes into it, in the order of making."""

import difflib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from raysweep.backbones.init import check_init
from raysweep.errors import RequestError
from raysweep.patches.write import INDEX
from raysweep.pretrain.inputs import check_method, checkpoint_inputs
from raysweep.pretrain.spec import CheckpointSpec
from raysweep.slides.inputs import patch_set_inputs
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table import SlideEntry, read_slides
from raysweep.slides.wants import check_wants
from raysweep.storage import MANIFEST, Artefact, Storage, file_identity
from raysweep.study.load import StudyFile, explain
from raysweep.study.model import Study
from raysweep.study.retry import contents

_WORDS = ("random", "timm")  # as an init they mean themselves, whatever checkpoints are called


@dataclass(frozen=True)
class PatchSetPlan:
    """A patch set, its slides and its folder."""

    name: str
    spec: PatchSetSpec
    slides: list[SlideEntry]
    artefact: Artefact

    @property
    def contents(self) -> str:
        """What it holds by now, or would hold if no slide failed."""
        return contents(self.artefact.folder) if self.artefact.done() else self.artefact.fingerprint


@dataclass(frozen=True)
class CheckpointPlan:
    """A checkpoint and one folder per pretraining seed; `spec` has its backbone and no grid."""

    name: str
    spec: CheckpointSpec
    artefacts: list[Artefact]
    inits: list[Storage | None]  # the folder of the init checkpoint, per pretraining seed
    parent: str | None  # the checkpoint of this study that it starts from
    patch_set: str | None  # the patch set of this study that it sees
    patches: Storage | None


def resolve_patch_sets(file: StudyFile, home: Storage) -> dict[str, PatchSetPlan]:
    """The patch sets of a study. Reads slide tables and the ends of slide files.

    Raises RequestError for a slide table that cannot be used.
    """
    plans = {}
    for name, spec in file.study.patches.items():
        try:
            slides = read_slides(spec, file.folder)
            check_wants(spec, slides)
        except RequestError as error:
            raise RequestError(f"patches.{name}: {error}") from error
        inputs = patch_set_inputs(spec, slides, file.study.seed)
        plans[name] = PatchSetPlan(name, spec, slides, Artefact(home.at("patches", name), inputs))
    return plans


def resolve_checkpoints(
    study: Study, home: Storage, patch_sets: dict[str, PatchSetPlan], folder: Path
) -> dict[str, CheckpointPlan]:
    """The checkpoints of a study, each after the one it starts from.

    Raises RequestError for an unknown init, patch set or method, and for a chain with a loop.
    """
    specs = _expand_grids(study.checkpoints)
    plans: dict[str, CheckpointPlan] = {}
    for name in _in_order(specs):
        try:
            plans[name] = _plan_checkpoint(name, specs[name], study.seed, home, patch_sets, plans, folder)
        except RequestError as error:
            raise RequestError(f"checkpoints.{name}: {error}") from error
    return {name: plans[name] for name in specs if name in plans}


def _plan_checkpoint(
    name: str,
    spec: CheckpointSpec,
    seed: int,
    home: Storage,
    patch_sets: dict[str, PatchSetPlan],
    plans: dict[str, CheckpointPlan],
    folder: Path,
) -> CheckpointPlan:
    parent = None if spec.init in _WORDS else plans.get(spec.init)
    given = None if parent else _checkpoint_folder(spec.init, folder)
    if parent:
        spec = _inherit(spec, parent.spec.backbone, spec.init)
        inits: list[Storage | None] = [a.folder for a in parent.artefacts]
        identities = [a.fingerprint for a in parent.artefacts]
    elif given:
        manifest = given.read_json(MANIFEST)
        spec = _inherit(spec, manifest["config"]["backbone"], spec.init)
        inits, identities = [given], [manifest["fingerprint"]]
    else:
        spec, identity = _outside(spec, folder, list(plans))
        inits, identities = [None], [identity]
    check_method(spec)
    patch_set, patches, patches_fp = _patches(spec, patch_sets, folder)
    artefacts = [
        Artefact(
            home.at("checkpoints", name),
            checkpoint_inputs(
                spec, seed=seed, pretraining_seed=i, init=identities[i % len(identities)], patches=patches_fp
            ),
        )
        for i in range(spec.seeds)
    ]
    chosen = [inits[i % len(inits)] for i in range(spec.seeds)]
    return CheckpointPlan(name, spec, artefacts, chosen, spec.init if parent else None, patch_set, patches)


def _outside(spec: CheckpointSpec, folder: Path, known: list[str]) -> tuple[CheckpointSpec, str]:
    """An init that is no checkpoint of a study: random, published weights or a file; with its identity."""
    if not spec.backbone:
        raise RequestError("backbone is missing; give a timm model name, such as resnet50")
    init = spec.init
    path = _below(folder, init)
    if init not in _WORDS and path.is_file():
        spec = spec.model_copy(update={"init": path.as_posix()})
    elif init not in _WORDS and not init.startswith("hf-hub:"):
        near = difflib.get_close_matches(init, [*_WORDS, *known], n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise RequestError(
            f"init {init} is neither random, timm, hf-hub:NAME, a checkpoint of this study nor a file{hint}"
        )
    check_init(spec.init, spec.backbone)
    if spec.init not in _WORDS and path.is_file():
        found = file_identity(path)
        return spec, f"file:{found['size']}:{found['hash']}"
    return spec, f"timm:{spec.backbone}" if init == "timm" else init


def _inherit(spec: CheckpointSpec, backbone: str | None, init: str) -> CheckpointSpec:
    assert backbone is not None  # every checkpoint has one by now
    if spec.backbone and spec.backbone.split(".")[0] != backbone.split(".")[0]:
        raise RequestError(f"backbone {spec.backbone} differs from {backbone}, that of its init {init}; leave it out")
    return spec.model_copy(update={"backbone": backbone})


def _checkpoint_folder(init: str, base: Path) -> Storage | None:
    """A finished checkpoint folder, named by path; None when the name is no such folder."""
    if "/" not in init:
        return None
    storage = Storage.open(init if "://" in init else _below(base, init))
    if not storage.exists("backbone.safetensors"):
        return None
    if not storage.exists(MANIFEST):
        raise RequestError(f"init {init}: this checkpoint is not finished")
    return storage


def _patches(
    spec: CheckpointSpec, patch_sets: dict[str, PatchSetPlan], base: Path
) -> tuple[str | None, Storage | None, str | None]:
    if spec.patches is None:
        return None, None, None
    if spec.patches in patch_sets:
        plan = patch_sets[spec.patches]
        return spec.patches, plan.artefact.folder, plan.contents
    if "/" in spec.patches:
        storage = Storage.open(spec.patches if "://" in spec.patches else _below(base, spec.patches))
        if storage.exists(MANIFEST) and storage.exists(INDEX):
            return None, storage, contents(storage)
        raise RequestError(f"patches {spec.patches}: there is no finished patch set in this folder")
    near = difflib.get_close_matches(spec.patches, list(patch_sets), n=1)
    hint = f"did you mean {near[0]}?" if near else f"patch sets of this study: {', '.join(patch_sets) or 'none'}"
    raise RequestError(f"patches {spec.patches} is not a patch set of this study; {hint}")


def _below(folder: Path, name: str) -> Path:
    return folder / Path(name).expanduser()


def _in_order(specs: dict[str, CheckpointSpec]) -> Iterable[str]:
    """Names with each after its init. Raises RequestError naming the loop of a chain that has one."""
    for start in specs:
        chain = [start]
        while (init := specs[chain[-1]].init) in specs and init not in _WORDS:
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
