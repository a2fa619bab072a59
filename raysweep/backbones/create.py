"""Backbones by timm name."""

from collections.abc import Mapping
from typing import Any

import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from raysweep.backbones.arguments import resolve_arguments
from raysweep.backbones.given import Pool, Triple
from raysweep.backbones.names import check_backbone
from raysweep.backbones.pool import set_pool
from raysweep.errors import RequestError, WorkError, reason_of
from raysweep.randomness import torch_seed


def create_backbone(
    name: str, *, seed: int, arguments: Mapping[str, Any] | None = None, pool: Pool | None = None
) -> nn.Module:
    """A backbone without a classifier, its weights drawn from the seed.

    Args:
        name: timm model name; a tag (`resnet50.tv_in1k`) changes nothing but the preprocessing.
        seed: any integer; the same seed gives the same weights and leaves torch's own generator as it was.
        arguments: what the model's constructor needs beyond its name; layers by name (`resolve_arguments`).
        pool: how a vision transformer pools its tokens (`set_pool`); None: as timm does.

    Returns:
        A module from float (n, 3, h, w) to pooled features (n, num_features). Vision transformers take any size.

    Raises RequestError for an unknown name, arguments that do not make a model, or a pool that it cannot have.
    """
    check_backbone(name)
    resolved = resolve_arguments(arguments or {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, "backbone", name.partition(".")[0]))
        try:
            model = _any_size(name, **resolved)
        except Exception as error:  # timm's constructors say it in many ways
            if not resolved:
                raise
            given = ", ".join(arguments or {})
            raise RequestError(
                f"model_args ({given}): timm cannot build {name} with them ({reason_of(error)}); correct or remove them"
            ) from error
    return set_pool(model, pool, name)


def check_arguments(name: str, arguments: Mapping[str, Any], pool: Pool | None) -> None:
    """Raises RequestError as `create_backbone`; nothing is allocated."""
    with torch.device("meta"):
        create_backbone(name, seed=0, arguments=arguments, pool=pool)


def positions_of(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by which timm gives a vision transformer as many positions as this one has, whatever its tag says.

    With fewer or more of them it would resample those of the weights, and answer a little differently.
    """
    with torch.device("meta"):
        model = create_backbone(name, seed=0, arguments=arguments)
    size = getattr(getattr(model, "patch_embed", None), "img_size", None)
    if size is None or not hasattr(model, "dynamic_img_size"):
        return {}
    return {"img_size": list(size), "dynamic_img_size": model.dynamic_img_size}


def _any_size(name: str, **arguments: Any) -> nn.Module:
    """`timm.create_model` without a classifier, with transformers that take any input size where timm can do it."""
    arguments = {**arguments, "num_classes": 0}
    model = timm.create_model(name, **arguments)
    if getattr(model, "dynamic_img_size", None) is False and "dynamic_img_size" not in arguments:
        model = timm.create_model(name, **{**arguments, "dynamic_img_size": True})
    return model


def download(name: str, arguments: Mapping[str, Any] | None = None, pool: Pool | None = None) -> nn.Module:
    """Published weights by full timm tag or `hf-hub:` name, from timm's cache or the network.

    Raises WorkError when they cannot be had.
    """
    resolved = resolve_arguments(arguments or {})
    try:
        model = _any_size(name, pretrained=True, **resolved)
    except Exception as error:  # whatever the hub's client raises
        text = " ".join(str(error).split())[:200]
        raise WorkError(f"weights {name}: cannot be loaded ({text}); {_instead(name)}") from error
    return set_pool(model, pool, name)


def _instead(name: str) -> str:
    """What somebody without the network, or without leave, can do."""
    config = None if ":" in name else timm.get_pretrained_cfg(name)
    repository = name.partition(":")[2] if ":" in name else (config and config.hf_hub_id) or ""
    if not repository:
        return "they come over the network once and are then kept in the cache"
    architecture = "TIMM_NAME" if ":" in name else name
    return (
        f"with the network they come once and are kept (if https://huggingface.co/{repository} asks for it, accept its "
        "terms and run `hf auth login`), without it copy model.safetensors or pytorch_model.bin of that page beside "
        f"the study and write backbone: {architecture} and init: THAT_FILE"
    )


def preprocessing(model: nn.Module) -> tuple[Triple, Triple, int]:
    """Mean and standard deviation of the channels (pixels in [0, 1]), and input edge in pixels, that timm names."""
    config: dict[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    mean, std = config.get("mean", IMAGENET_DEFAULT_MEAN), config.get("std", IMAGENET_DEFAULT_STD)
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2]), int(config.get("input_size", (3, 224, 224))[-1])
