"""A checkpoint on disk: `backbone.safetensors`, with everything about it in the file's own metadata."""

import json
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
    """Weights that are not in the file, because their licence forbids to pass them on."""

    card: str = Field(
        description="published model; its weights come from the hub's cache, or with the user's own token"
    )
    hash: str


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
    """Write `backbone.safetensors`: weights under timm's names, information as metadata; no weights of a reference."""
    from safetensors.torch import save

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
        model.load_state_dict(_referenced(info, model) if info.reference else load(folder.read_bytes(FILE)))
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


def _referenced(info: CheckpointInfo, model: "nn.Module") -> "dict[str, Tensor]":
    from raysweep.backbones.published import PREFIX, fetch, find_card
    from raysweep.backbones.weight_file import read_weights

    assert info.reference is not None
    init = f"{PREFIX}{info.reference.card}"
    path = Path(fetch(find_card(info.reference.card)))
    found = read_weights(path, model, name=info.backbone, init=init, allow_missing=info.allow_missing).weights
    if hash_of(found) != info.reference.hash:
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
    with folder.fs.open_input_stream(folder.path(*parts)) as stream:  # https://huggingface.co/docs/safetensors
        size = stream.read(8)
        length = struct.unpack("<Q", size)[0] if len(size) == 8 else _MAX_HEADER + 1
        head = stream.read(length) if length <= _MAX_HEADER else b""
    try:
        return dict(json.loads(head)["__metadata__"])
    except (KeyError, TypeError) as error:
        raise ValueError("no metadata") from error


def forbidding(info: CheckpointInfo) -> str | None:
    """The published model whose licence forbids to pass these weights on, or what was trained from them; else None."""
    from raysweep.backbones.published import PREFIX, list_cards

    forbidden = {card.name for card in list_cards() if card.licence.redistribution == "forbidden"}
    named = [step.get("init", "").removeprefix(PREFIX).partition(":")[0] for step in info.lineage()
             if step.get("init", "").startswith(PREFIX)]  # fmt: skip
    return info.reference.card if info.reference else next((name for name in named if name in forbidden), None)


def export_checkpoint(folder: Storage, out: Path) -> Path:
    """Copy a checkpoint to where others can load it, and return the path of the weights.

    `out` becomes a folder with `model.safetensors` and `config.json` (preprocessing), the layout of the Hugging Face
    Hub: both `timm.create_model("local-dir:OUT", pretrained=True, num_classes=0)` and
    `timm.create_model(NAME, checkpoint_path="OUT/model.safetensors", num_classes=0)` load it.

    timm's configuration has no words for two things, which `raysweep` in it says: a layer that is given by its name
    (`mlp_layer: SwiGLUPacked`) is to be passed to `create_model` as timm.layers has it, and of `pool: token+avg` there
    come all tokens, to be pooled by the reader.

    Raises RequestError when there is no checkpoint in the folder, or its licence forbids to pass it on.
    """
    from raysweep.backbones.arguments import says_layers
    from raysweep.backbones.create import positions_of

    info = read_info(folder)
    if info.reference:
        raise RequestError(
            f"checkpoint {folder.root}: the licence of {info.reference.card} forbids to pass its weights on; name it "
            f"as published:{info.reference.card} where it is needed"
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
