"""A checkpoint on disk: `backbone.safetensors`, with everything about it in the file's own metadata."""

import json
import posixpath
import struct
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from raysweep.backbones.given import Interpolation, Pool
from raysweep.errors import RequestError, WorkError
from raysweep.model import Model
from raysweep.storage import Storage

if TYPE_CHECKING:
    from torch import Tensor, nn

FILE = "backbone.safetensors"
_METADATA = "raysweep"  # the key of ours in the file's metadata
_MAX_HEADER = 100 * 2**20  # bytes; the format's own limit


class Reference(Model):
    """Weights that are not in the checkpoint's file, because their licence forbids to pass them on."""

    card: str = Field(description="published model that they are of")
    hash: str
    file: str | None = Field(
        None, description="where they are, from the checkpoint's folder; none: in the hub's cache, or on the hub, "
        "to be had with the user's own token",
    )  # fmt: skip
    seed: int = Field(0, description="what the file was allowed to lack is drawn from")


class CheckpointInfo(Model):
    """What a checkpoint is and where it comes from."""

    backbone: str = Field(description="timm model name")
    arguments: dict[str, Any] = Field({}, description="what timm needs to build it beyond the name; layers by name")
    pool: Pool | None = Field(None, description="of a vision transformer's tokens; none: timm's own")
    mean: tuple[float, float, float] = Field(description="of the channels R, G, B, for pixels in [0, 1]")
    std: tuple[float, float, float]
    interpolation: Interpolation = Field("bicubic", description="of the resize before the network")
    mpp: float | None = Field(None, description="um per pixel that the network saw, after views and resize")
    px: int | None = Field(None, description="edge of what the network saw, pixels")
    method: str | None = Field(None, description="pretraining objective; none: published or random weights")
    licence: str | None = None
    sources: list[str] = Field([], description="slides, their patients and published data that the weights have seen")
    init: str = Field(description="random, timm:TAG, hf-hub:NAME, published:NAME, file:NAME or checkpoint:FINGERPRINT")
    allow_missing: list[str] = Field([], description="globs of what its file was allowed not to have")
    patches: str | None = Field(None, description="fingerprint of the patch set")
    epochs: int | None = None
    steps: int | None = Field(None, description="of a training whose budget is in steps")
    reference: Reference | None = Field(None, description="where the weights are, if not in the file")
    pretraining_seed: int = 0
    parents: list[dict[str, Any]] = Field([], description="the lineage, oldest first")

    def lineage(self) -> list[dict[str, Any]]:
        """What a checkpoint made from this one has as parents."""
        own = {"backbone", "pool", "init", "method", "patches", "epochs", "steps", "pretraining_seed", "licence"}
        return [*self.parents, self.model_dump(mode="json", include=own, exclude_none=True)]


def save_checkpoint(folder: Storage, weights: "dict[str, Tensor]", info: CheckpointInfo) -> None:
    """Write `backbone.safetensors`: weights under timm's names, information as metadata; no weights of a reference.

    The file of a reference is given by its path on this machine. Raises RequestError when there is no way from the
    folder to it, which is then on object storage.
    """
    from safetensors.torch import save

    if info.reference and info.reference.file:
        reference = _seen_from(folder, info.reference, info.reference.file)
        info = info.model_copy(update={"reference": reference})
    # one key: the library writes several in an order of chance, and equal checkpoints should be equal files
    metadata = {_METADATA: info.model_dump_json(exclude_none=True)}
    kept = {} if info.reference else weights
    tensors = {name: value.detach().cpu().contiguous() for name, value in kept.items()}
    folder.write_bytes(save(tensors, metadata), FILE)


def load_checkpoint(folder: Storage) -> "tuple[nn.Module, CheckpointInfo]":
    """The backbone in eval mode, without a classifier, and what it is.

    Raises RequestError when there is no checkpoint in the folder, WorkError when file and backbone do not match, or
    when weights that are kept by reference cannot be had or are others now.
    """
    from safetensors.torch import load

    from raysweep.backbones.create import create_backbone

    info = read_info(folder)
    model = create_backbone(info.backbone, seed=0, arguments=info.arguments, pool=info.pool)
    try:
        model.load_state_dict(_referenced(folder, info) if info.reference else load(folder.read_bytes(FILE)))
    except RuntimeError as error:
        raise WorkError(f"{folder.path(FILE)}: does not fit {info.backbone} ({error})") from error
    return model.eval(), info


def hash_of(weights: "Mapping[str, Tensor]") -> str:
    """A hash of names, types, shapes and values."""
    digest = blake2b(digest_size=16)
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _seen_from(folder: Storage, reference: Reference, file: str) -> Reference:
    name = posixpath.basename(file)
    if not folder.is_local:
        raise RequestError(
            f"init {name}: the licence of {reference.card} forbids to copy its weights to the storage, and on object "
            f"storage a checkpoint cannot point to a file of this machine; write init: published:{reference.card}"
        )
    return reference.model_copy(update={"file": posixpath.relpath(file, folder.root)})


def file_of(folder: Storage, reference: Reference) -> str | None:
    """Path on this machine of the file that a checkpoint in a folder refers to; None: the hub has it."""
    return posixpath.normpath(posixpath.join(folder.root, reference.file)) if reference.file else None


def _referenced(folder: Storage, info: CheckpointInfo) -> "dict[str, Tensor]":
    from raysweep.backbones.create import create_backbone
    from raysweep.backbones.published import PREFIX, fetch, find_card
    from raysweep.backbones.weight_file import read_weights

    reference = info.reference
    assert reference is not None
    init = f"{PREFIX}{reference.card}"
    path = Path(file_of(folder, reference) or fetch(find_card(reference.card)))
    if not path.exists():
        raise WorkError(
            f"checkpoint {folder.root}: it has no weights of its own, because the licence of {reference.card} forbids "
            f"to copy them, and {path} is gone; put the file back there"
        )
    model = create_backbone(info.backbone, seed=reference.seed, arguments=info.arguments, pool=info.pool)
    found = read_weights(path, model, name=info.backbone, init=init, allow_missing=info.allow_missing).weights
    if hash_of(found) != reference.hash:
        raise WorkError(
            f"init {init}: {path.name} is another file now than when the checkpoint was made; make it again"
        )
    return found


def read_info(folder: Storage) -> CheckpointInfo:
    """What the checkpoint in a folder is, read from the head of the file.

    Raises RequestError when there is none, or when the file is none of ours.
    """
    path = folder.path(FILE)
    if not folder.exists(FILE):
        raise RequestError(f"checkpoint {folder.root}: there is no {FILE} in it")
    try:
        return CheckpointInfo.model_validate_json(read_metadata(folder, FILE)[_METADATA])
    except (ValueError, KeyError) as error:
        raise RequestError(f"checkpoint {path}: not a file written by raysweep; name it as an init instead") from error


def read_metadata(folder: Storage, *parts: str) -> dict[str, str]:
    """The metadata in the head of a safetensors file; nothing else of it is read. Raises ValueError if it has none."""
    with folder.open_file(*parts) as stream:  # https://huggingface.co/docs/safetensors
        size = stream.read(8)
        length = struct.unpack("<Q", size)[0] if len(size) == 8 else _MAX_HEADER + 1
        head = stream.read(length) if length <= _MAX_HEADER else b""
    try:
        return dict(json.loads(head)["__metadata__"])
    except (KeyError, TypeError) as error:
        raise ValueError("no metadata") from error


def forbidding(info: CheckpointInfo) -> str | None:
    """The published model whose licence forbids to pass these weights on, or what was trained from them; else None."""
    from raysweep.backbones.published import forbids

    if info.reference:
        return info.reference.card
    return next(filter(None, (forbids(step.get("init", "")) for step in info.lineage())), None)


def export_checkpoint(folder: Storage, out: Path) -> Path:
    """Copy a checkpoint to where others can load it, and return the path of the weights.

    `out` becomes a folder with `model.safetensors` and `config.json` (preprocessing), the layout of the Hugging Face
    Hub: both `timm.create_model("local-dir:OUT", pretrained=True, num_classes=0)` and
    `timm.create_model(NAME, checkpoint_path="OUT/model.safetensors", num_classes=0)` load it.

    timm's configuration has no words for two things, which `raysweep` in it says: a layer that is given by its name
    (`mlp_layer: SwiGLUPacked`) is to be passed to `create_model` as timm.layers has it, and of `pool: token+avg` there
    come all tokens, to be pooled by the reader.

    Raises RequestError when there is no checkpoint in the folder, or the licence of weights in its lineage forbids to
    pass it on.
    """
    from raysweep.backbones.arguments import says_layers
    from raysweep.backbones.create import positions_of

    info = read_info(folder)
    if card := forbidding(info):
        raise RequestError(
            f"checkpoint {folder.root}: the licence of {card} forbids to pass on its weights and what was trained from "
            f"them; give published:{card} and the study's file instead"
        )
    layers = says_layers(info.arguments)
    arguments = {key: value for key, value in info.arguments.items() if key not in layers}
    arguments |= positions_of(info.backbone, info.arguments)
    if info.pool:
        arguments |= {"global_pool": "" if info.pool == "token+avg" else info.pool}
    if info.pool == "avg":
        arguments |= {"fc_norm": False}  # timm would rename the last norm
    weights = Storage.open(out)
    weights.write_bytes(folder.read_bytes(FILE), "model.safetensors")
    architecture, _, tag = info.backbone.partition(".")
    edge = info.px or 224
    config = {
        "architecture": architecture,
        "num_classes": 0,
        "global_pool": None,
        "model_args": arguments or None,
        "pretrained_cfg": {
            "tag": tag,
            "input_size": [3, edge, edge],
            "fixed_input_size": False,
            "interpolation": info.interpolation,
            "crop_pct": 1.0,
            "mean": info.mean,
            "std": info.std,
            "num_classes": 0,
            "license": info.licence,
        },
        "raysweep": info.model_dump(mode="json", exclude_none=True),
    }
    weights.write_json({k: v for k, v in config.items() if v is not None}, "config.json")
    return Path(weights.path("model.safetensors"))
