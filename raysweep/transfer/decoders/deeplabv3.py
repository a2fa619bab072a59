"""DeepLabV3 (Chen et al., arXiv 1706.05587), by segmentation-models-pytorch's decoder."""

from typing import Literal

from pydantic import Field
from segmentation_models_pytorch.base.initialization import initialize_decoder, initialize_head
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3Decoder
from torch import Tensor, nn

from raysweep.model import Model
from raysweep.transfer.decoder import Decoder, Maps, resized
from raysweep.transfer.decoders import register

_DROPOUT = 0.5  # after the joined branches, as torchvision and segmentation-models-pytorch have it


class DeepLabV3Options(Model):
    output_stride: Literal[8, 16] = Field(
        16, description="of the deepest features, by dilation; a backbone that cannot be dilated keeps its own"
    )
    channels: int = Field(256, ge=8, description="width of every branch")


@register
class DeepLabV3(Decoder):
    """Dilated convolutions of several rates on the deepest features, bilinear enlargement."""

    name = "deeplabv3"
    Options = DeepLabV3Options

    @classmethod
    def output_stride(cls, options: DeepLabV3Options) -> int:
        return options.output_stride

    def __init__(self, maps: Maps, n_classes: int, options: DeepLabV3Options) -> None:
        super().__init__(maps, n_classes, options)
        width = options.channels
        self.decoder = DeepLabV3Decoder(maps.channels[-1], width, rates_at(maps.strides[-1]), False, _DROPOUT)
        self.logits = nn.Conv2d(width, n_classes, 1)
        initialize_decoder(self.decoder)
        initialize_head(self.logits)

    def forward(self, maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        return resized(self.logits(self.decoder(maps)), size)


def rates_at(stride: int) -> tuple[int, int, int]:
    """Rates of dilation for features of that stride: (6, 12, 18) at 16 and twice that at 8 (the paper's section 3.3).

    They reach equally far in the picture at every stride.
    """
    first, second, third = (max(1, round(rate * 16 / stride)) for rate in (6, 12, 18))
    return first, second, third
