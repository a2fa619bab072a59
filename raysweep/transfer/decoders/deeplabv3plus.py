"""DeepLabV3+ (Chen et al., ECCV 2018), by segmentation-models-pytorch's decoder."""

from typing import Literal

import torch
from pydantic import Field
from segmentation_models_pytorch.base.initialization import initialize_decoder, initialize_head
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder
from torch import Tensor, nn

from raysweep.model import Model
from raysweep.transfer.decoder import Decoder, Maps, resized
from raysweep.transfer.decoders import register
from raysweep.transfer.decoders.deeplabv3 import rates_at

_FINE = 4  # stride of the features that the deepest are joined with
_DROPOUT = 0.5  # after the joined branches, as in DeepLabV3


class DeepLabV3PlusOptions(Model):
    output_stride: Literal[8, 16] = Field(
        16, description="of the deepest features, by dilation; a backbone that cannot be dilated keeps its own"
    )
    channels: int = Field(256, ge=8, description="width of every branch")


@register
class DeepLabV3Plus(Decoder):
    """Separable dilated convolutions on the deepest features, joined with those at 1/4 of the picture."""

    name = "deeplabv3plus"
    Options = DeepLabV3PlusOptions

    @classmethod
    def output_stride(cls, options: DeepLabV3PlusOptions) -> int:
        return options.output_stride

    @classmethod
    def why_not(cls, maps: Maps) -> str:
        if _FINE in maps.strides and maps.strides[-1] > _FINE:
            return ""
        return (
            f"there are no features at 1/{_FINE} of the picture to join with the deepest (their strides are "
            f"{', '.join(map(str, maps.strides))} px); use deeplabv3 or light, which take every backbone"
        )

    def __init__(self, maps: Maps, n_classes: int, options: DeepLabV3PlusOptions) -> None:
        super().__init__(maps, n_classes, options)
        width = options.channels
        self._fine = len(maps.strides) - 1 - maps.strides[::-1].index(_FINE)
        # smp reads the widths of the third and of the last features alone
        channels = [0, 0, maps.channels[self._fine], maps.channels[-1]]
        self.decoder = DeepLabV3PlusDecoder(channels, 3, width, rates_at(maps.strides[-1]), 16, True, _DROPOUT)
        self.decoder.up = nn.Identity()  # it enlarges by a factor, which fits some sizes and strides only
        self.logits = nn.Conv2d(width, n_classes, 1)
        initialize_decoder(self.decoder)
        initialize_head(self.logits)

    def forward(self, maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        fine, parts = maps[self._fine], self.decoder
        height, width = fine.shape[-2:]
        wide = resized(parts.aspp(maps[-1]), (height, width))
        return resized(self.logits(parts.block2(torch.cat([wide, parts.block1(fine)], dim=1))), size)
