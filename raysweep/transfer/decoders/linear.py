"""A linear layer for each cell of the deepest features: what they hold without any context.

Normalised first, as in DINOv2's linear evaluation of dense tasks (Oquab et al., arXiv 2304.07193, section 7.4).
"""

from torch import Tensor, nn

from raysweep.model import Model
from raysweep.transfer.decoder import Decoder, Maps, resized
from raysweep.transfer.decoders import register


class LinearOptions(Model):
    """None: a linear layer is as it is."""


@register
class Linear(Decoder):
    """Batch normalisation, a 1x1 convolution, bilinear enlargement."""

    name = "linear"
    Options = LinearOptions

    def __init__(self, maps: Maps, n_classes: int, options: LinearOptions) -> None:
        super().__init__(maps, n_classes, options)
        self.logits = nn.Sequential(nn.BatchNorm2d(maps.channels[-1]), nn.Conv2d(maps.channels[-1], n_classes, 1))

    def forward(self, maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        return resized(self.logits(maps[-1]), size)
