"""U-Net (Ronneberger et al., MICCAI 2015), by segmentation-models-pytorch's decoder."""

from typing import Annotated

from pydantic import Field
from segmentation_models_pytorch.base.initialization import initialize_decoder, initialize_head
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from torch import Tensor, nn

from raysweep.errors import RequestError
from raysweep.model import Model
from raysweep.transfer.decoder import Decoder, Maps
from raysweep.transfer.decoders import register


class UNetOptions(Model):
    channels: list[Annotated[int, Field(ge=1)]] | None = Field(
        None, description="widths of its blocks, one for each halving of the picture, deepest first; default: slim"
    )


@register
class UNet(Decoder):
    """As slim as the backbone, unless told otherwise: most of the time goes to the encoder."""

    name = "unet"
    Options = UNetOptions

    @classmethod
    def why_not(cls, maps: Maps) -> str:
        if maps.is_pyramid:
            return ""
        return (
            f"there is no pyramid of features (their strides are {', '.join(map(str, maps.strides))} px); use light, "
            "which takes every backbone"
        )

    def __init__(self, maps: Maps, n_classes: int, options: UNetOptions) -> None:
        super().__init__(maps, n_classes, options)
        blocks = maps.strides[-1].bit_length() - 1
        widths = tuple(options.channels) if options.channels else block_widths(maps.channels[-1], blocks)
        if len(widths) != blocks:
            raise RequestError(
                f"decoder.channels: the deepest features are at 1/{maps.strides[-1]}, so give {blocks} widths "
                f"(given: {len(widths)})"
            )
        found = dict(zip(maps.strides, maps.channels, strict=True))
        self._strides = [2**level for level in range(blocks + 1)]
        self._known = maps.strides
        # smp's decoder passes by what stands for the picture itself, and joins nothing where there are 0 channels
        self.decoder = UnetDecoder([3, *(found.get(s, 0) for s in self._strides[1:])], widths, n_blocks=blocks)
        self.logits = nn.Conv2d(widths[-1], n_classes, 3, padding=1)
        initialize_decoder(self.decoder)
        initialize_head(self.logits)

    def forward(self, maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        deepest = maps[-1]
        found = dict(zip(self._known, maps, strict=True))
        height, width = size
        empty = {s: deepest.new_empty(len(deepest), 0, height // s, width // s) for s in self._strides}
        return self.logits(self.decoder([empty[1], *(found.get(s, empty[s]) for s in self._strides[1:])]))


def block_widths(deepest: int, blocks: int = 5) -> tuple[int, ...]:
    """Widths of a U-Net's blocks for a backbone whose deepest features have so many channels.

    512 (ResNet-18): 64, 32, 16, 16, 8, which leaves most of the time to the encoder; 2048 (ResNet-50): 256, 128, 64,
    64, 32, about the original's. Fewer blocks leave out the first.
    """
    first = min(256, max(64, deepest // 8))
    slim = (first, first // 2, first // 4, first // 4, first // 8)
    return (*[first] * (blocks - 5), *slim)[-blocks:]
