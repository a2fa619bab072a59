"""timm's own conversion of foreign weights: other names, positions of another size, other input channels."""

import inspect
import math
import sys
from collections.abc import Callable
from typing import Any

import torch
from timm.models import model_entrypoint
from torch import Tensor, nn

from raysweep.backbones.renames import Reading

_FILTERS = ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained", "pretrained_filter_fn")


def adapt(reading: Reading, model: nn.Module) -> Reading | None:
    """A file's weights as timm itself would convert them for the model; None when there is nothing that it does.

    Each model module of timm knows the names of the original release (DINOv2 with its registers, Swin, ConvNeXt, ...)
    and resamples position embeddings of another size; a first convolution of other than the model's channels is
    repeated or summed to them, scaled so that equal channels give the same answer. What was resampled is noted.
    """
    tensors = dict(reading.tensors)
    if "register_tokens" in tensors:  # the mark by which timm knows DINOv2; not every export keeps it
        tensors.setdefault("mask_token", torch.zeros(1))
    convert = _filter(model)
    if convert is not None:
        try:
            tensors = dict(convert(tensors))
        except Exception:  # made for files of the original release: whatever else it meets, it fails at
            tensors = dict(reading.tensors)
    tensors = {name: value for name, value in tensors.items() if isinstance(value, Tensor)}
    target = model.state_dict()
    for name in _first_convolutions(model):
        if name in tensors and name in target:
            given = reading.tensors.get(name, tensors[name])
            if given.ndim == 4 and given.shape[2:] != tensors[name].shape[2:]:
                tensors[name] = given  # patches of another size are another network
            tensors[name] = _channels(tensors[name], target[name])
    if all(tensors.get(name) is value for name, value in reading.tensors.items()) and len(tensors) == len(
        reading.tensors
    ):
        return None
    return Reading(tensors, _origins(reading, tensors), reading.prefix, reading.notes + _notes(reading, tensors))


def _filter(model: nn.Module) -> Callable[[dict[str, Tensor]], dict[str, Any]] | None:
    name = str((getattr(model, "pretrained_cfg", None) or {}).get("architecture", ""))
    if not name:
        return None
    module = sys.modules[model_entrypoint(name).__module__]
    found = next((getattr(module, f) for f in _FILTERS if callable(getattr(module, f, None))), None)
    if found is None:
        return None
    takes = inspect.signature(found).parameters
    more: dict[str, Any] = {"adapt_layer_scale": True} if "adapt_layer_scale" in takes else {}
    return (lambda state: found(state, model, **more)) if len(takes) > 1 else found


def _first_convolutions(model: nn.Module) -> list[str]:
    """Names of the weights that see the image's channels."""
    named = (getattr(model, "pretrained_cfg", None) or {}).get("first_conv") or ()
    return [f"{name}.weight" for name in ((named,) if isinstance(named, str) else named)]


def _channels(weight: Tensor, wanted: Tensor) -> Tensor:
    """A convolution (out, in, h, w) for another number of channels, as timm's `adapt_input_conv` makes it of three."""
    have, want = weight.shape[1] if weight.ndim == 4 else 0, wanted.shape[1] if wanted.ndim == 4 else 0
    if have == want or not have or not want or weight.shape[0] != wanted.shape[0]:
        return weight
    if weight.shape[2:] != wanted.shape[2:]:
        return weight
    if want == 1:
        return weight.float().sum(dim=1, keepdim=True).to(weight.dtype)
    repeated = weight.float().repeat(1, math.ceil(want / have), 1, 1)[:, :want]
    return (repeated * (have / want)).to(weight.dtype)


def _origins(reading: Reading, tensors: dict[str, Tensor]) -> dict[str, list[str]]:
    """The file's keys behind each converted tensor: the same object, else the same name.

    A conversion that makes tensors of others under other names takes all that it left out.
    """
    by_id = {id(value): name for name, value in reading.tensors.items()}
    found = {}
    for name, value in tensors.items():
        source = by_id.get(id(value), name if name in reading.tensors else None)
        found[name] = reading.origins[source] if source is not None else []
    made = [name for name, keys in found.items() if not keys and name != "mask_token"]
    if made:
        taken = {key for keys in found.values() for key in keys}
        found[made[0]] = [key for keys in reading.origins.values() for key in keys if key not in taken]
    return found


def _notes(reading: Reading, tensors: dict[str, Tensor]) -> tuple[str, ...]:
    changed = [
        f"{name} {tuple(reading.tensors[name].shape)} resampled to {tuple(value.shape)}"
        for name, value in tensors.items()
        if name in reading.tensors and reading.tensors[name].shape != value.shape
    ]
    other = any(name not in reading.tensors for name in tensors)
    return (*changed, *(["names converted by timm"] if other else []))
