"""Where a checkpoint of a study starts: random or published weights, a file, or another checkpoint."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from raysweep.addresses import at_home
from raysweep.backbones.init import card_of, check_init, init_identity, weights_folder
from raysweep.errors import RequestError
from raysweep.pretrain.spec import CheckpointSpec
from raysweep.storage import MANIFEST, Storage, file_identity

STUDY = "study:"  # a checkpoint of another study in the same storage
WORDS = ("random", "timm")  # they mean themselves, whatever checkpoints are called


@dataclass(frozen=True)
class Start:
    """What one of a checkpoint's pretrainings starts from: `folder` of a checkpoint, or None for other weights.

    `identity` is what a fingerprint covers of it.
    """

    folder: Storage | None
    identity: str


def find_starts(
    spec: CheckpointSpec, folder: Path, storage: Storage, known: list[str]
) -> tuple[CheckpointSpec, list[Start]]:
    """The starts that `init` names, when it is no checkpoint of the study itself, and the spec with its backbone.

    `folder` is the study's own, which paths start from; `storage` holds other studies; `known` are names of
    checkpoints, for a hint. Raises RequestError for an init that is nothing of the kind.
    """
    folders = _checkpoint_folders(spec.init, folder, storage)
    if not folders:
        spec, identity = _outside(spec, folder, known)
        return spec, [Start(None, identity)]
    manifests = [found.read_json(MANIFEST) for found in folders]
    spec = inherit(spec, manifests[0]["config"]["backbone"])
    return spec, [Start(f, m["fingerprint"]) for f, m in zip(folders, manifests, strict=True)]


def inherit(spec: CheckpointSpec, backbone: str | None) -> CheckpointSpec:
    """The spec with the backbone of its init. Raises RequestError when it names another one, or builds it anew."""
    assert backbone is not None  # every checkpoint has one by now
    if spec.backbone and spec.backbone.split(".")[0] != backbone.split(".")[0]:
        raise RequestError(
            f"backbone {spec.backbone} differs from {backbone}, that of its init {spec.init}; leave it out"
        )
    for key in ("model_args", "allow_missing", "card"):
        if getattr(spec, key):
            raise RequestError(f"{key}: init {spec.init} is a checkpoint, which is taken whole; leave {key} out")
    return spec.model_copy(update={"backbone": backbone})


def _outside(spec: CheckpointSpec, folder: Path, known: list[str]) -> tuple[CheckpointSpec, str]:
    """An init that is no checkpoint of a study: random, published weights or a file; with its identity."""
    init = spec.init
    path = folder / at_home(init)
    if init not in WORDS and path.is_file():
        spec = spec.model_copy(update={"init": path.as_posix()})
    card = card_of(spec.init, spec)
    if card is not None and not spec.backbone:
        spec = spec.model_copy(update={"backbone": card.backbone})
    if not spec.backbone:
        raise RequestError("backbone is missing; give a timm model name, such as resnet50")
    if init not in WORDS and not path.is_file() and not init.startswith(("hf-hub:", "published:")):
        if there := weights_folder(path):
            raise RequestError(f"init {init}: {there}")
        near = difflib.get_close_matches(init, [*WORDS, *known], n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise RequestError(
            f"init {init} is neither random, timm, published:NAME, hf-hub:NAME, study:STUDY/CHECKPOINT, a checkpoint "
            f"of this study nor a file{hint}"
        )
    check_init(spec.init, spec.backbone, spec)
    if init not in WORDS and path.is_file():
        found = file_identity(path)
        file = f"file:{found['size']}:{found['hash']}"
        return spec, f"{file}:{card.identity}" if card else file
    return spec, init_identity(init, spec.backbone, card)


def _checkpoint_folders(init: str, base: Path, storage: Storage) -> list[Storage]:
    """Finished checkpoint folders, named by path or as `study:OTHER/NAME`; none when the name is neither."""
    if init.startswith(STUDY):
        return _of_other_study(init, storage)
    if "/" not in init:
        return []
    folder = Storage.open(init if "://" in init else base / at_home(init))
    if not folder.exists("backbone.safetensors"):
        return []
    if not folder.exists(MANIFEST):
        raise RequestError(f"init {init}: this checkpoint is not finished")
    return [folder]


def _of_other_study(init: str, storage: Storage) -> list[Storage]:
    """The folders that the other study's `current` names, one for each of its pretraining seeds."""
    other, _, name = init.removeprefix(STUDY).partition("/")
    if not other or not name:
        raise RequestError(f"init {init}: write study:STUDY/CHECKPOINT")
    home = storage.at(other, "checkpoints", name)
    if not home.exists("current"):
        known = storage.at(other, "checkpoints").names()
        has = f"it has {', '.join(known)}" if known else f"there is no study {other} with checkpoints in this storage"
        raise RequestError(f"init {init}: study {other} has no checkpoint {name}; {has}")
    folders = [home.at(line) for line in home.read_bytes("current").decode().split()]
    if not folders or not all(folder.exists(MANIFEST) for folder in folders):
        raise RequestError(f"init {init}: this checkpoint is not finished; run study {other} first")
    return folders
