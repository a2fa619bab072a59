"""A checkpoint's backbone with a new head: a linear one for labels, a decoder for masks."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from raysweep.backbones.checkpoint import CheckpointInfo, load_checkpoint
from raysweep.errors import RequestError
from raysweep.randomness import torch_seed
from raysweep.storage import Storage
from raysweep.transfer.decoder import Decoder, resized
from raysweep.transfer.decoders import DecoderChoice, find_decoder
from raysweep.transfer.feature_maps import FeatureMaps, feature_maps
from raysweep.transfer.own_px import output_on_meta, own_px, seen_at


class Network(nn.Module):
    """`backbone` holds the checkpoint's weights, `head` the new ones. Takes normalised images (batch, 3, px, px).

    px is the card's; the backbone sees the same field of view at its `own_px`.
    """

    backbone: nn.Module
    head: nn.Module

    def __init__(self, px: int, own: int) -> None:
        super().__init__()
        self.px, self.own_px = px, own


class Classifier(Network):
    """Logits (batch, classes) from the backbone's pooled features."""

    def __init__(
        self, backbone: nn.Module, features: int, *, n_classes: int, dropout: float, px: int, own: int
    ) -> None:
        super().__init__(px, own)
        self.backbone = backbone
        linear = nn.Linear(features, n_classes)
        nn.init.trunc_normal_(linear.weight, std=0.01)
        nn.init.zeros_(linear.bias)
        self.head = nn.Sequential(nn.Dropout(dropout), linear)

    def features(self, images: Tensor) -> Tensor:
        """What the head is given (batch, d)."""
        return self.backbone(seen_at(images, self.px, self.own_px))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


class Segmenter(Network):
    """Logits (batch, classes, px, px), whatever size the backbone sees, from its maps by a decoder."""

    def __init__(self, backbone: FeatureMaps, head: Decoder, *, px: int, own: int) -> None:
        super().__init__(px, own)
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        seen = seen_at(images, self.px, self.own_px)
        height, width = seen.shape[-2:]
        logits = self.head(self.backbone(seen), self.backbone.padded(height, width))  # type: ignore[operator]
        return resized(logits[..., :height, :width], (images.shape[-2], images.shape[-1]))


def build_network(
    checkpoint: Storage,
    kind: str,
    *,
    n_classes: int,
    px: int,
    dropout: float,
    seed: int,
    decoder: DecoderChoice = "unet",
) -> tuple[Network, CheckpointInfo]:
    """The network for a kind of task, its backbone from the checkpoint to the bit, its head drawn from the seed.

    `px` is the card's; `decoder` (of segmentation alone) is a name, or {type: name, option: value}.

    Raises RequestError when the backbone cannot be used for this kind of task or at this size, WorkError when
    weights of the checkpoint have no place among the backbone's maps of features or the other way round.
    """
    backbone, info = load_checkpoint(checkpoint)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, "head"))
        network = assemble(
            backbone, kind, name=info.backbone, arguments=info.arguments, n_classes=n_classes, px=px, dropout=dropout,
            decoder=decoder,
        )  # fmt: skip
    return network, info


def assemble(
    backbone: nn.Module, kind: str, *, name: str, arguments: Mapping[str, Any], n_classes: int, px: int,
    dropout: float, decoder: DecoderChoice,
) -> Network:  # fmt: skip
    """A backbone (in evaluation mode, with timm's name and the arguments it was built with) under a new head.

    The head is drawn from torch's generator as it stands. Works on the meta device too.
    Raises RequestError and WorkError as `build_network`.
    """
    if kind == "classification":
        own = own_px(backbone, backbone, px, name=name, arguments=arguments)
        features = int(output_on_meta(backbone, own).shape[1])
        return Classifier(backbone, features, n_classes=n_classes, dropout=dropout, px=px, own=own).eval()
    made, options = find_decoder(decoder)
    maps = feature_maps(backbone, name, arguments, output_stride=made.output_stride(options)).eval()
    if reason := made.why_not(maps.maps):
        raise RequestError(f"decoder {made.name} does not fit backbone {name}: {reason}")
    own = own_px(maps, backbone, px, name=name, arguments=arguments)
    channels = tuple(int(m.shape[1]) for m in output_on_meta(maps, own))  # timm's own lists are wrong for a few
    head = made(replace(maps.maps, channels=channels), n_classes, options)
    return Segmenter(maps, head, px=px, own=own).eval()
