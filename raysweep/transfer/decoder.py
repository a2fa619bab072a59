"""What a decoder is: a backbone's feature maps in, logits for every pixel out."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from raysweep.model import Model


@dataclass(frozen=True)
class Maps:
    """What a backbone's feature maps are like, from the shallowest to the deepest."""

    channels: tuple[int, ...]
    strides: tuple[int, ...]  # edge of a map's cell, in pixels of the picture

    @property
    def is_pyramid(self) -> bool:
        """Whether each map is coarser than the one before, by powers of two, down to 1/8 of the picture or below."""
        powers = all(stride & (stride - 1) == 0 for stride in self.strides)
        return powers and self.strides[-1] >= 8 and all(a < b for a, b in zip(self.strides, self.strides[1:]))  # noqa: B905


class Decoder(nn.Module):
    """A network from feature maps to logits. Registered by name; one file each, with its options."""

    name: ClassVar[str]
    Options: ClassVar[type[Model]]

    @classmethod
    def output_stride(cls, options: Any) -> int | None:
        """The stride that it would have the deepest features at, where a backbone can be dilated to give it."""
        return None

    @classmethod
    def why_not(cls, maps: Maps) -> str:
        """Why it cannot take such maps and what to use, as the end of a sentence; empty when it can."""
        return ""

    def __init__(self, maps: Maps, n_classes: int, options: Any) -> None:
        """Weights are drawn from torch's generator as it stands."""
        super().__init__()

    def forward(self, maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        """Logits (batch, n_classes, *size) of a picture of that height and width; maps: (batch, channels, h, w)."""
        raise NotImplementedError


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(batch, channels, h, w) at another size, bilinear; averaged over what it covers where it shrinks."""
    height, width = images.shape[-2:]
    if (height, width) == size:
        return images
    shrinks = size[0] < height or size[1] < width
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=shrinks)
