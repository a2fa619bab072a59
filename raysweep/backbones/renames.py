"""Renamed families: architectures of timm whose weights others write under names of their own."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from raysweep.errors import RequestError


@dataclass(frozen=True)
class Reading:
    """Tensors of a file under other names, with the keys of the file that each was made from."""

    tensors: dict[str, Tensor]
    origins: dict[str, list[str]]
    prefix: str = ""
    notes: tuple[str, ...] = ()

    @classmethod
    def under(cls, flat: Mapping[str, Tensor], prefix: str) -> "Reading":
        """What stands under a prefix, the prefix taken off."""
        keys = {key[len(prefix) :]: key for key in flat if key.startswith(prefix)}
        return cls({n: flat[key] for n, key in keys.items()}, {n: [key] for n, key in keys.items()}, prefix)


def renamed(flat: Mapping[str, Tensor], model: nn.Module, liking: Callable[[str], int]) -> Iterator[Reading]:
    """The file read by each family's rule whose mark it has. Of several copies the best liked prefix is read.

    Raises RequestError for a file whose network is another one than the model's under names that would fit it.
    """
    for mark, rule in ((_EFFICIENTNET, _efficientnet), (_TRANSFORMERS, _transformers)):
        prefixes = [key.removesuffix(mark) for key in flat if key.endswith(mark)]
        if prefixes:
            yield rule(Reading.under(flat, max(prefixes, key=lambda p: (liking(p), -len(p)))), model)


_EFFICIENTNET = "_conv_stem.weight"  # efficientnet_pytorch (L. Melas-Kyriazi)
_STEM_AND_HEAD = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2",
                  "_fc": "classifier"}  # fmt: skip
_INVERTED = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
             "_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand", "_project_conv": "conv_pwl",
             "_bn2": "bn3"}  # fmt: skip
_SEPARABLE = {**_INVERTED, "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def _efficientnet(reading: Reading, model: nn.Module) -> Reading:
    """`_blocks.7._project_conv` to `blocks.3.1.conv_pwl`: blocks are numbered through, in timm by stage."""
    target = model.state_dict()
    name = str((getattr(model, "pretrained_cfg", None) or {}).get("architecture", ""))
    if name.startswith("efficientnet"):
        raise RequestError(
            "its names are those of efficientnet_pytorch, whose convolutions pad as TensorFlow's do and not as "
            f"{name}'s; name the backbone tf_{name}"
        )
    places = sorted({(int(m[1]), int(m[2])) for n in target if (m := re.match(r"blocks\.(\d+)\.(\d+)\.", n))})

    def place(key: str) -> str:
        parts = key.split(".")
        if parts[0] != "_blocks" or len(parts) < 3 or not parts[1].isdigit() or int(parts[1]) >= len(places):
            return ".".join([_STEM_AND_HEAD.get(parts[0], parts[0]), *parts[1:]])
        stage, block = places[int(parts[1])]
        home = f"blocks.{stage}.{block}"
        names = _INVERTED if f"{home}.conv_pwl.weight" in target else _SEPARABLE
        return ".".join([home, names.get(parts[2], parts[2]), *parts[3:]])

    return _moved(reading, place, "names of efficientnet_pytorch")


_TRANSFORMERS = "embeddings.cls_token"  # Hugging Face transformers: ViT, Dinov2, Dinov2 with registers
_WORDS = (
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.(cls_token|mask_token|register_tokens)$", r"\1"),
    (r"^(?:encoder\.)?layer\.(\d+)\.", r"blocks.\1."),
    (r"\.(?:layernorm_before|norm1)\.", ".norm1."),
    (r"\.(?:layernorm_after|norm2)\.", ".norm2."),
    (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.attention\.(?:attention\.)?(?:query|q_proj)\.", ".attn.q."),
    (r"\.attention\.(?:attention\.)?(?:key|k_proj)\.", ".attn.k."),
    (r"\.attention\.(?:attention\.)?(?:value|v_proj)\.", ".attn.v."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"^(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
    (r"\.mlp\.weights_in\.", ".mlp.fc1."),
    (r"\.mlp\.weights_out\.", ".mlp.fc2."),
    (r"^layernorm\.", "norm."),
)


def _transformers(reading: Reading, model: nn.Module) -> Reading:
    """To the names of timm; query, key and value are one matrix there."""

    def place(key: str) -> str:
        for pattern, word in _WORDS:
            key = re.sub(pattern, word, key)
        return key

    moved = _moved(reading, place, "names of Hugging Face transformers")
    tensors, origins = dict(moved.tensors), dict(moved.origins)
    for name in list(tensors):
        if ".attn.q." in name:
            three = [name.replace(".attn.q.", f".attn.{part}.") for part in "qkv"]
            if all(part in tensors for part in three):
                joined = name.replace(".attn.q.", ".attn.qkv.")
                tensors[joined] = torch.cat([tensors.pop(part) for part in three])
                origins[joined] = [key for part in three for key in origins.pop(part)]
    return Reading(tensors, origins, moved.prefix, moved.notes)


def _moved(reading: Reading, place: Callable[[str], str], note: str) -> Reading:
    names = {name: place(name) for name in reading.tensors}
    return Reading(
        {names[n]: value for n, value in reading.tensors.items()},
        {names[n]: keys for n, keys in reading.origins.items()},
        reading.prefix,
        (note,),
    )
