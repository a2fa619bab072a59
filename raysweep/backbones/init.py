"""The weights that a model starts from: random, published, a file, or another checkpoint."""

import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysweep.backbones.checkpoint import CheckpointInfo, load_checkpoint
from raysweep.backbones.names import check_backbone, check_tag
from raysweep.errors import RequestError, WorkError
from raysweep.storage import Storage, file_identity

if TYPE_CHECKING:
    from torch import Tensor

HUB = "hf-hub:"
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")
_LEAST_FIT = 0.5  # of a backbone's keys must be in a file


@dataclass(frozen=True)
class Initial:
    """Weights under timm's names, what they are, and what a file had too much or too little."""

    weights: "dict[str, Tensor]"
    info: CheckpointInfo
    dropped: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def is_file(init: str) -> bool:
    """Whether an init names a file of weights, there or not."""
    return init.lower().endswith(_SUFFIXES)


def init_identity(init: str, backbone: str | None) -> str:
    """What a checkpoint's fingerprint covers of an init that is no checkpoint: `random`, `timm:TAG`, ...; light.

    Raises RequestError when a file cannot be read.
    """
    if init == "timm":
        return f"timm:{backbone}"
    if is_file(init):
        try:
            identity = file_identity(Path(init).expanduser())
        except OSError as error:
            raise RequestError(f"init {init}: cannot be read ({error.strerror}); name an existing file") from error
        return f"file:{identity['name']}:{identity['size']}:{identity['hash']}"
    return init


def check_init(init: str, backbone: str | None) -> None:
    """Check an init that is no checkpoint, before anything runs; light, and nothing is downloaded.

    Raises RequestError: an unknown backbone or init, a bare timm name where weights are asked for, a missing file.
    """
    if init.startswith(HUB):
        if not init.removeprefix(HUB):
            raise RequestError(f"init {init}: name the weights, such as hf-hub:timm/resnet50.a1_in1k")
        return
    if init not in ("random", "timm") and not is_file(init):
        raise RequestError(
            f"init {init}: neither random, timm, hf-hub:NAME, a file ({', '.join(_SUFFIXES)}) nor a checkpoint"
        )
    if is_file(init) and not Path(init).expanduser().is_file():
        raise RequestError(f"init {init}: there is no such file; a path starts from the study's folder")
    if not backbone:
        raise RequestError(f"init {init}: give backbone, the timm name of the model")
    if init == "timm":
        check_tag(backbone)
    else:
        check_backbone(backbone)


def initial_weights(
    init: str, backbone: str | None, *, seed: int, parent: Storage | None = None, licence: str | None = None
) -> Initial:
    """The weights that an init names.

    Args:
        init: random | timm | hf-hub:NAME | a file; not looked at when there is a parent.
        backbone: timm name; may be None with `hf-hub:` and with a parent.
        seed: random weights, and those that a file lacks, are drawn from it.
        parent: folder of the checkpoint that the model starts from.
        licence: of the weights, where it is known better than timm knows it.

    Raises RequestError (see `check_init`; also a file in which hardly any key fits) or WorkError (no download).
    """
    if parent is not None:
        return _from_checkpoint(parent, backbone, licence)
    check_init(init, backbone)
    from raysweep.backbones.create import create_backbone, download, preprocessing

    if init == "timm" or init.startswith(HUB):
        name = backbone if init == "timm" else init
        assert name is not None
        model = download(name)
        config: dict[str, Any] = getattr(model, "pretrained_cfg", {})
        mean, std, px = preprocessing(model)
        info = CheckpointInfo(
            backbone=name if init == "timm" else _hub_backbone(init, config, backbone),
            arguments=_hub_arguments(name) if init != "timm" else {},
            mean=mean, std=std, px=px,
            licence=licence or config.get("license"),
            sources=[init_identity(init, backbone)],
            init=init_identity(init, backbone),
        )  # fmt: skip
        return Initial(model.state_dict(), info)
    assert backbone is not None
    model = create_backbone(backbone, seed=seed)
    mean, std, _ = preprocessing(model)
    info = CheckpointInfo(backbone=backbone, mean=mean, std=std, licence=licence, init="random")
    if init == "random":
        return Initial(model.state_dict(), info)
    return _from_file(init, model.state_dict(), info)


def _from_checkpoint(folder: Storage, backbone: str | None, licence: str | None) -> Initial:
    model, info = load_checkpoint(folder)
    if backbone is not None and _base(backbone) != _base(info.backbone):
        raise RequestError(
            f"backbone {backbone}: the checkpoint it starts from is {info.backbone}; leave backbone out to inherit it"
        )
    return Initial(model.state_dict(), info.model_copy(update={"licence": licence or info.licence}))


def _from_file(init: str, target: "dict[str, Tensor]", info: CheckpointInfo) -> Initial:
    from raysweep.backbones.keys import fit_keys

    fitted = fit_keys(_read(Path(init).expanduser()), target)
    if len(fitted.weights) < _LEAST_FIT * len(target):
        raise RequestError(
            f"init {init}: only {len(fitted.weights)} of the {len(target)} keys of {info.backbone} are in it"
            f" (it has {_some(fitted.dropped)}; missing: {_some(fitted.missing)}); name the backbone that it holds"
        )
    identity = init_identity(init, None)
    name = f"file:{Path(init).name}"
    return Initial(
        {key: fitted.weights.get(key, value).to(value.dtype) for key, value in target.items()},
        info.model_copy(update={"init": identity, "sources": [name]}),
        fitted.dropped,
        fitted.missing,
    )


def _read(path: Path) -> dict[str, Any]:
    """What a file of weights holds. A stranger's file is never unpickled."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix.lower() == ".safetensors":
            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise RequestError(
            f"init {path}: holds Python objects besides tensors, which could run code when read; convert it to"
            " .safetensors where you trust it"
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        text = " ".join(str(error).split())[:150]
        raise WorkError(f"init {path}: cannot be read as a file of weights ({text})") from error
    if not isinstance(content, dict):
        raise RequestError(f"init {path}: holds a {type(content).__name__} where names and tensors are needed")
    return content


def _hub_backbone(init: str, config: dict[str, Any], backbone: str | None) -> str:
    held = ".".join(filter(None, [config["architecture"], config.get("tag")]))
    if backbone is not None and _base(backbone) != _base(held):
        raise RequestError(f"backbone {backbone}: {init} holds {held}; name that one")
    return held


def _hub_arguments(name: str) -> dict[str, Any]:
    from timm.models import load_model_config_from_hf

    return dict(load_model_config_from_hf(name.removeprefix(HUB))[2] or {})


def _base(backbone: str) -> str:
    """The name without its tag."""
    return backbone.partition(".")[0]


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") or "none"
