"""Backbones by timm name."""

from collections.abc import Mapping
from typing import Any

import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from raysweep.backbones.names import check_backbone
from raysweep.errors import WorkError
from raysweep.randomness import torch_seed

Triple = tuple[float, float, float]


def create_backbone(name: str, *, seed: int, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """A backbone without a classifier, its weights drawn from the seed.

    Args:
        name: timm model name; a tag (`resnet50.tv_in1k`) changes nothing but the preprocessing.
        seed: any integer; the same seed gives the same weights and leaves torch's own generator as it was.
        arguments: what the model's constructor needs beyond its name, as published weights may.

    Returns:
        A module from float (n, 3, h, w) to pooled features (n, num_features). Vision transformers take any size.

    Raises RequestError for an unknown name.
    """
    check_backbone(name)
    arguments = dict(arguments or {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, "backbone", name.partition(".")[0]))
        return _any_size(name, **arguments)


def _any_size(name: str, **arguments: Any) -> nn.Module:
    """`timm.create_model` without a classifier, with transformers that take any input size where timm can do it."""
    model = timm.create_model(name, num_classes=0, **arguments)
    if getattr(model, "dynamic_img_size", None) is False:
        model = timm.create_model(name, num_classes=0, **{**arguments, "dynamic_img_size": True})
    return model


def download(name: str) -> nn.Module:
    """Published weights by full timm tag or `hf-hub:` name, from timm's cache or the network.

    Raises WorkError when they cannot be had.
    """
    try:
        return _any_size(name, pretrained=True)
    except Exception as error:  # whatever the hub's client raises
        text = " ".join(str(error).split())[:200]
        raise WorkError(
            f"weights {name}: cannot be loaded ({text}); they come over the network once and are then kept in the cache"
        ) from error


def preprocessing(model: nn.Module) -> tuple[Triple, Triple, int]:
    """Mean and standard deviation of the channels (pixels in [0, 1]), and input edge in pixels, that timm names."""
    config: dict[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    mean, std = config.get("mean", IMAGENET_DEFAULT_MEAN), config.get("std", IMAGENET_DEFAULT_STD)
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2]), int(config.get("input_size", (3, 224, 224))[-1])
