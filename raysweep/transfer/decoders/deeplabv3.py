"""DeepLabV3 (Chen et al., arXiv 1706.05587), by segmentation-models-pytorch's decoder."""

from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3Decoder
from torch import Tensor, nn

from raysweep.transfer.decoder import Maps, resized
from raysweep.transfer.decoders import register
from raysweep.transfer.dilated import DROPOUT, DilatedDecoder, rates_at


@register
class DeepLabV3(DilatedDecoder):
    """Dilated convolutions of several rates on the deepest features, bilinear enlargement."""

    name = "deeplabv3"

    def branches(self, maps: Maps, width: int) -> nn.Module:
        return DeepLabV3Decoder(maps.channels[-1], width, rates_at(maps.strides[-1]), False, DROPOUT)

    def forward(self, maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        return resized(self.logits(self.decoder(maps)), size)
