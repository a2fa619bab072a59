"""FCN (Long et al., CVPR 2015): torchvision's head on the deepest features, as in Kawai et al. 2023."""

from torch import Tensor
from torchvision.models.segmentation.fcn import FCNHead

from raysweep.model import Model
from raysweep.transfer.decoder import Decoder, Maps, resized
from raysweep.transfer.decoders import register


class FCNOptions(Model):
    """None: torchvision's head is as it is."""


@register
class FCN(Decoder):
    """A 3x3 convolution to a quarter of the channels, dropout 0.1, a 1x1 convolution, bilinear enlargement."""

    name = "fcn"
    Options = FCNOptions

    def __init__(self, maps: Maps, n_classes: int, options: FCNOptions) -> None:
        super().__init__(maps, n_classes, options)
        self.logits = FCNHead(maps.channels[-1], n_classes)

    def forward(self, maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        return resized(self.logits(maps[-1]), size)
