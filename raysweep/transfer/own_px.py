"""The edge at which a backbone sees a task's pictures: the card's px, or the nearest that the backbone can take.

The field of view is the card's in every case: a picture of px edge is resized to the backbone's own edge inside the
network, and masks are scored at the card's px, on the same pixels for every checkpoint.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raysweep.errors import RequestError, reason_of


def own_px(network: nn.Module, backbone: nn.Module, px: int, *, name: str, arguments: Mapping[str, Any]) -> int:
    """The card's px where the network takes it, else the nearest multiple of the backbone's patch, else its input size.

    Args:
        network: takes float (batch, 3, px, px); `backbone` itself or something around it. Only looked at.
        backbone: as timm built it.
        px: the card's.
        name: timm's, to be said.
        arguments: that timm built it with.

    Raises RequestError when the network takes none of these.
    """
    reasons = []
    tried = dict.fromkeys([px, _nearest_multiple(_cell(backbone), px), _input_px(backbone, arguments)])
    for edge in tried:
        try:
            output_on_meta(network, edge)
            return edge
        except Exception as error:  # timm's models say it in many ways
            reasons.append(reason_of(error))
    sizes = " or ".join(f"{edge} px" for edge in tried)
    raise RequestError(
        f"backbone {name} cannot take images of {sizes} ({reasons[0]}); give it an img_size that it takes under "
        "model_args, or use another backbone"
    )


def output_on_meta(network: nn.Module, px: int) -> Any:
    """What a network would give for one picture of px edge, without values: nothing is computed or changed."""
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    with torch.no_grad():
        images = torch.zeros(1, 3, px, px, device="meta")
        modes = [(module, module.training) for module in network.modules()]
        network.eval()
        try:
            return torch.func.functional_call(network, {k: v.to("meta") for k, v in tensors.items()}, (images,))
        finally:
            for module, training in modes:
                module.training = training


def seen_at(images: Tensor, px: int, own: int) -> Tensor:
    """Float (batch, 3, h, w) of a card of px as a backbone of that own edge sees them: bicubic, antialiased."""
    if own == px:
        return images
    height, width = (max(1, round(edge * own / px)) for edge in images.shape[-2:])
    return F.interpolate(images, size=(height, width), mode="bicubic", align_corners=False, antialias=True)


def _nearest_multiple(cell: int, px: int) -> int:
    """Of two equally near the larger; at least one cell."""
    return max(cell, (px + cell // 2) // cell * cell)


def _cell(backbone: nn.Module) -> int:
    """What the edge must be a multiple of, as far as the backbone says: the stride of its tokens, or its patch."""
    info: Any = getattr(backbone, "feature_info", None) or []
    strides = {int(level["reduction"]) for level in info if isinstance(level, dict) and "reduction" in level}
    patch = getattr(getattr(backbone, "patch_embed", None), "patch_size", 1)
    patch = max(patch) if isinstance(patch, tuple | list) else int(patch or 1)
    return max(strides) if len(strides) == 1 else patch


def _input_px(backbone: nn.Module, arguments: Mapping[str, Any]) -> int:
    """The size that timm builds it for."""
    size = arguments.get("img_size") or (getattr(backbone, "pretrained_cfg", None) or {}).get("input_size") or (224,)
    return int(size[-1]) if isinstance(size, tuple | list) else int(size)
