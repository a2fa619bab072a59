"""One small decoder for every backbone: maps of any strides, brought to one width and size, summed and mixed once.

SegFormer's head (Xie et al., NeurIPS 2021, section 3.2) with a sum for its concatenation. A pyramid and a plain vision
transformer get the same head, so that what differs between checkpoints is the backbone.
"""

from pydantic import Field
from torch import Tensor, nn

from raysweep.model import Model
from raysweep.transfer.decoder import Decoder, Maps, resized
from raysweep.transfer.decoders import register

_STRIDE = 4  # where maps meet: finer ones cost much time and see little


class LightOptions(Model):
    width: int = Field(64, ge=4, description="channels that every map is brought to")


@register
class Light(Decoder):
    """1x1 convolutions to one width, a sum at 1/4 of the picture, a 3x3 convolution, bilinear enlargement."""

    name = "light"
    Options = LightOptions

    def __init__(self, maps: Maps, n_classes: int, options: LightOptions) -> None:
        super().__init__(maps, n_classes, options)
        width = options.width
        self._taken = [i for i, s in enumerate(maps.strides) if s >= _STRIDE] or [len(maps.strides) - 1]
        self.narrow = nn.ModuleList(_normed(maps.channels[i], width, 1) for i in self._taken)
        self.mix = nn.Sequential(nn.ReLU(), _normed(width, width, 3), nn.ReLU(), nn.Conv2d(width, n_classes, 1))

    def forward(self, maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        meeting = (-(-size[0] // _STRIDE), -(-size[1] // _STRIDE))
        narrowed = [resized(f(maps[i]), meeting) for f, i in zip(self.narrow, self._taken, strict=True)]
        total = narrowed[0]
        for more in narrowed[1:]:
            total = total + more
        return resized(self.mix(total), size)


def _normed(given: int, made: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(given, made, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(made)
    )  # fmt: skip
