"""Which of timm's architectures a file of weights holds: by what raysweep or the file's name says, then by trying."""

import json
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import is_model, list_models

from raysweep.backbones.file_kind import file_kind
from raysweep.backbones.keys import fit_keys
from raysweep.backbones.weight_file import read_content
from raysweep.errors import RequestError

# What people pretrain, tried where a name tells nothing; of equal trunks the first one is taken
_USUAL = (
    "resnet50", "resnet18", "resnet34", "resnet101", "vit_small_patch16_224", "vit_base_patch16_224",
    "vit_large_patch16_224", "vit_tiny_patch16_224", "vit_small_patch14_dinov2", "vit_base_patch14_dinov2",
    "vit_large_patch14_dinov2", "vit_small_patch14_reg4_dinov2", "vit_base_patch14_reg4_dinov2",
    "vit_large_patch14_reg4_dinov2", "vit_small_patch8_224", "vit_base_patch8_224", "vit_base_patch32_224",
    "swin_tiny_patch4_window7_224", "swin_base_patch4_window7_224", "convnext_tiny", "convnext_small", "convnext_base",
    "densenet121", "inception_v3", "efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3",
    "tf_efficientnet_lite0", "tf_efficientnet_b0", "mobilenetv3_large_100", "regnety_032", "resnext50_32x4d",
    "wide_resnet50_2", "resnetv2_50x1_bit", "resnet152",
)  # fmt: skip


def recognise(path: Path) -> str:
    """The timm name of an architecture of which the file holds every parameter, and no more of the same trunk.

    Raises RequestError where none of those that were tried fits, WorkError for a file that cannot be read.
    """
    content = read_content(path)
    tried = []
    for name in _candidates(path, content):
        tried.append(name)
        try:
            with torch.device("meta"):
                model = timm.create_model(name, num_classes=0)
            fitted = fit_keys(content, model, ordered=file_kind(path) != "safetensors")
        except (RequestError, RuntimeError, NotImplementedError):  # what cannot be built, or fitted, without values
            continue
        if fitted.misfits == (0, 0):
            return name
    raise RequestError(
        f"{path}: holds none of the {len(tried)} architectures that were tried ({', '.join(tried[:4])}, ...); say "
        f"which one as BACKBONE={path.name}, with timm's name of it"
    )


def _candidates(path: Path, content: Mapping[str, Any]) -> Iterator[str]:
    """What raysweep wrote into the file, then names of timm inside the file's name, then the usual ones.

    efficientnet_pytorch's networks pad as TensorFlow does, as timm's `tf_` ones do; those without it have the same
    shapes and compute something else.
    """
    seen = set[str]()
    named = _in_name(path)
    if "_conv_stem.weight" in content:
        named = [f"tf_{name}" for name in named if is_model(f"tf_{name}")] + named
    for name in (*_written(path), *named, *_USUAL):
        if name not in seen:
            seen.add(name)
            yield name


def _written(path: Path) -> list[str]:
    """What a checkpoint or export of raysweep says of itself."""
    if file_kind(path) != "safetensors":
        return []
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    said = header.get("__metadata__", {}).get("raysweep")
    return [json.loads(said)["backbone"]] if said else []


def _in_name(path: Path) -> list[str]:
    """Longest first; `vit-small_p16` is no such name, and `my_resnet50.moco` has one."""
    plain = re.sub(r"[^a-z0-9]+", "_", path.name.lower())
    return sorted((name for name in list_models() if f"_{name}_" in f"_{plain}_"), key=len, reverse=True)
