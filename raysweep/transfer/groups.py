"""Which parameters of a network are trained, how fast, and which of them decay: by what timm knows of a backbone."""

import functools
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.models import group_parameters
from timm.optim._param_groups import auto_group_layers as auto_group
from torch import nn

from raysweep.backbones.arguments import resolve_arguments
from raysweep.backbones.checkpoint import CheckpointInfo
from raysweep.errors import RequestError
from raysweep.transfer.network import Network

_VIT_LAYER_DECAY = 0.75  # of MAE (He et al., CVPR 2022, table 9)
_Groups = dict[tuple[float, float], list[nn.Parameter]]  # by rate and weight decay


@dataclass(frozen=True)
class Layers:
    """A backbone from its stem upwards, as timm's `group_matcher` divides it.

    Layers are numbered from 0, with timm's classifier, and what belongs to it, as the last. Parameters are named as in
    timm's model with `_` for `.`: models that yield features at several depths join module names.
    """

    fine: Mapping[str, int]  # by residual block
    coarse: Mapping[str, int]  # by stage; of a plain vision transformer by block
    exempt: frozenset[str]  # from weight decay
    plain_vit: bool

    def of(self, parameter: str) -> str | None:
        """The name here of a backbone's parameter, whatever modules were put around it."""
        parts = parameter.split(".")
        names = ("_".join(parts[i:]).replace(".", "_") for i in range(len(parts)))
        return next((name for name in names if name in self.fine), None)


def layers_of(info: CheckpointInfo) -> Layers:
    """The layers of a checkpoint's backbone; nothing is allocated."""
    return _layers(info.backbone, json.dumps(info.arguments, sort_keys=True))


def parameter_groups(
    network: Network, layers: Layers, *, lr: float, head_lr_factor: float, weight_decay: float,
    layer_decay: float | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Groups for a torch optimiser of all parameters that take gradients.

    The backbone's layer l of n has the rate lr layer_decay^(n - l), the head lr head_lr_factor, as
    `timm.optim.param_groups_layer_decay` has it, the head being layer n. `layer_decay=None`: 0.75 for plain vision
    transformers, 1 for all else. Parameters of one dimension, and those that timm exempts, do not decay.
    """
    factor = (_VIT_LAYER_DECAY if layers.plain_vit else 1.0) if layer_decay is None else layer_decay
    top = max(layers.fine.values())
    groups: _Groups = {}
    for path, parameter in network.backbone.named_parameters():
        known = layers.of(path)
        layer = layers.fine[known] if known else top  # an adapter, or what pools otherwise than timm
        decayed = parameter.ndim > 1 and known not in layers.exempt
        _join(groups, parameter, lr * factor ** (top - layer), weight_decay if decayed else 0.0)
    head: _Groups = {}
    for parameter in network.head.parameters():
        _join(head, parameter, lr * head_lr_factor, weight_decay if parameter.ndim > 1 else 0.0)
    return _listed(groups) + _listed(head)


def freeze_layers(backbone: nn.Module, layers: Layers, number: int, name: str) -> None:
    """Keep the first `number` of a backbone's stages (stem first; of vision transformers: blocks) as they are.

    Raises RequestError when it has fewer.
    """
    count = max(layers.coarse.values(), default=0)
    if number > count:
        raise RequestError(f"freeze: backbone {name} has {count} stages, and {number} cannot be frozen; lower it")
    for path, parameter in backbone.named_parameters():
        known = layers.of(path)
        if known and layers.coarse.get(known, number) < number:
            parameter.requires_grad_(False)


def _join(groups: _Groups, parameter: nn.Parameter, lr: float, weight_decay: float) -> None:
    if parameter.requires_grad:
        groups.setdefault((lr, weight_decay), []).append(parameter)


def _listed(groups: _Groups) -> list[dict[str, Any]]:
    """As torch takes them: slow before fast, decayed before not."""
    order = sorted(groups, key=lambda key: (key[0], -key[1]))
    return [{"params": groups[lr, decay], "lr": lr, "weight_decay": decay} for lr, decay in order]


@functools.cache
def _layers(name: str, arguments: str) -> Layers:
    with torch.device("meta"):
        model: Any = timm.create_model(name, num_classes=1, **resolve_arguments(json.loads(arguments)))
    known = hasattr(model, "group_matcher")
    fine = group_parameters(model, model.group_matcher(coarse=False), reverse=True) if known else auto_group(model)
    coarse = {}
    with suppress(AttributeError, AssertionError):  # a few of timm's models have no stages
        coarse = group_parameters(model, model.group_matcher(coarse=True), reverse=True)
    exempt = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()
    return Layers(
        {path.replace(".", "_"): layer for path, layer in fine.items()},
        {path.replace(".", "_"): layer for path, layer in coarse.items()},
        frozenset(path.replace(".", "_") for path in exempt),
        hasattr(model, "blocks") and hasattr(model, "patch_embed") and hasattr(model, "pos_embed"),
    )
