"""Arguments of timm's constructors as they stand in YAML: layers by name."""

import difflib
from collections.abc import Mapping
from typing import Any

from raysweep.errors import RequestError

_FILES = frozenset({"cache_dir", "checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay"})
_NAMES_LAYERS = ("_layer", "_fn")  # how arguments end that take a class or a function


def resolve_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with each layer's name replaced by the layer: that of `timm.layers`, else of `torch.nn`.

    A name that only timm's own look-up of norms and activations knows (`layernorm`, `gelu_tanh`) stays as it is.
    Nothing else is looked up, imported or run. Raises RequestError, with the nearest names, for an unknown layer, and
    for an argument that would have timm read weights.
    """
    for key in _FILES & arguments.keys():
        raise RequestError(f"model_args.{key}: weights come by init alone; leave it out")
    return {
        key: _layer(key, value) if isinstance(value, str) and key.endswith(_NAMES_LAYERS) else value
        for key, value in arguments.items()
    }


def says_layers(arguments: Mapping[str, Any]) -> list[str]:
    """The keys whose value is a layer's name that timm's constructors do not take as text."""
    return [key for key, value in resolve_arguments(arguments).items() if value is not arguments[key]]


def _layer(key: str, name: str) -> Any:
    from timm import layers
    from torch import nn

    for module in (layers, nn):
        if name.isidentifier() and not name.startswith("_") and callable(found := getattr(module, name, None)):
            return found
    if _timm_knows(key, name):
        return name
    known = [n for module in (layers, nn) for n in vars(module) if n[0].isupper()]
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.6)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise RequestError(f"model_args.{key}: there is no layer {name} in timm.layers or torch.nn{hint}")


def _timm_knows(key: str, name: str) -> bool:
    from timm import layers

    look_up = layers.get_act_layer if "act" in key else layers.get_norm_layer
    try:
        return look_up(name) is not None
    except (AssertionError, AttributeError, KeyError, ValueError):
        return False
