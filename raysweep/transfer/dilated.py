"""What decoders share that look at the deepest features, dilated, at several rates at once."""

from typing import Literal

from pydantic import Field
from segmentation_models_pytorch.base.initialization import initialize_decoder, initialize_head
from torch import nn

from raysweep.model import Model
from raysweep.transfer.decoder import Decoder, Maps

DROPOUT = 0.5  # after the joined branches, as torchvision and segmentation-models-pytorch have it


class DilatedOptions(Model):
    output_stride: Literal[8, 16] = Field(
        16, description="of the deepest features, by dilation; a backbone that cannot be dilated keeps its own"
    )
    channels: int = Field(256, ge=8, description="width of every branch")


class DilatedDecoder(Decoder):
    """`decoder`, a part of segmentation-models-pytorch as one of these makes it, and a 1x1 convolution to `logits`."""

    Options = DilatedOptions

    @classmethod
    def output_stride(cls, options: DilatedOptions) -> int:
        return options.output_stride

    def __init__(self, maps: Maps, n_classes: int, options: DilatedOptions) -> None:
        super().__init__(maps, n_classes, options)
        self.decoder = self.branches(maps, options.channels)
        self.logits = nn.Conv2d(options.channels, n_classes, 1)
        initialize_decoder(self.decoder)
        initialize_head(self.logits)

    def branches(self, maps: Maps, width: int) -> nn.Module:
        """From feature maps to `width` channels."""
        raise NotImplementedError


def rates_at(stride: int) -> tuple[int, int, int]:
    """Rates of dilation for features of that stride: (6, 12, 18) at 16 and twice that at 8 (DeepLabV3's section 3.3).

    They reach equally far in the picture at every stride.
    """
    first, second, third = (max(1, round(rate * 16 / stride)) for rate in (6, 12, 18))
    return first, second, third
