"""DeepLabV3+ (Chen et al., ECCV 2018), by segmentation-models-pytorch's decoder."""

from typing import Any

import torch
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder
from torch import Tensor, nn

from raysweep.transfer.decoder import Maps, resized
from raysweep.transfer.decoders import register
from raysweep.transfer.dilated import DROPOUT, DilatedDecoder, rates_at

_FINE = 4  # stride of the features that the deepest are joined with


@register
class DeepLabV3Plus(DilatedDecoder):
    """Separable dilated convolutions on the deepest features, joined with those at 1/4 of the picture."""

    name = "deeplabv3plus"

    @classmethod
    def why_not(cls, maps: Maps) -> str:
        if _FINE in maps.strides and maps.strides[-1] > _FINE:
            return ""
        return (
            f"there are no features at 1/{_FINE} of the picture to join with the deepest (their strides are "
            f"{', '.join(map(str, maps.strides))} px); use deeplabv3 or light, which take every backbone"
        )

    def branches(self, maps: Maps, width: int) -> nn.Module:
        self._fine = len(maps.strides) - 1 - maps.strides[::-1].index(_FINE)
        # smp reads the widths of the third and of the last features alone
        channels = [0, 0, maps.channels[self._fine], maps.channels[-1]]
        decoder = DeepLabV3PlusDecoder(channels, 3, width, rates_at(maps.strides[-1]), 16, True, DROPOUT)
        decoder.up = nn.Identity()  # it enlarges by a factor, which fits some sizes and strides only
        return decoder

    def forward(self, maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        fine = maps[self._fine]
        parts: Any = self.decoder
        height, width = fine.shape[-2:]
        wide = resized(parts.aspp(maps[-1]), (height, width))
        return resized(self.logits(parts.block2(torch.cat([wide, parts.block1(fine)], dim=1))), size)
