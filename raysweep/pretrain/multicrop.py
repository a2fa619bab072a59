"""Two large and several small views of a patch, and how a network runs on them. Light: torch comes when it runs."""

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from raysweep.patches.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn

_SMALLEST = 0.05  # area of a small view, as a fraction of the patch
_STEP = 16  # px; small views have a multiple of it as their edge


def multi_crop(px: int, *, n_small: int, crop: float, colour: float) -> list[Recipe]:
    """The views of DINO (Caron et al. 2021, section 3.1 and their code): two of `px`, then `n_small` small ones.

    The two are those of BYOL, which has no others (Grill et al. 2020, appendix B).

    Large views take `crop` to 1 of the patch's area, small ones 0.05 to `crop`. A small view's edge is 96/224 of `px`,
    rounded to a multiple of 16.

    Args:
        px: edge of the large views, pixels.
        n_small: number of small views; may be 0.
        crop: smallest area of a large view as a fraction of the patch, at least 0.05 where there are small ones.
        colour: strength of the colour jitter; 1 is the paper's.
    """
    edge = max(_STEP, round(px * 96 / 224 / _STEP) * _STEP)

    def view(px: int, scale: tuple[float, float], blur: float, solarise: float = 0.0) -> Recipe:
        return Recipe(
            px, scale=scale, stretch=4 / 3,
            jitter=0.8, brightness=0.4 * colour, contrast=0.4 * colour, saturation=0.2 * colour, hue=0.1 * colour,
            grey=0.2, blur=blur, solarise=solarise,
        )  # fmt: skip

    large = [view(px, (crop, 1.0), 1.0), view(px, (crop, 1.0), 0.1, 0.2)]
    return large + [view(edge, (_SMALLEST, crop), 0.5)] * n_small


def run_views(network: "nn.Module", views: "Sequence[Tensor]") -> "Tensor":
    """The network on every view, once for each size: float (views * n, width), view after view.

    A vision transformer wants images that its patches divide, and no edge well below 224 suits both those of 14 and of
    32 pixels. So views whose edge they do not divide are enlarged to the next multiple: 96 to 98 for patches of 14.

    Args:
        network: float (m, 3, h, w) to (m, width).
        views: float (n, 3, px, px) each, those of one size beside each other.
    """
    import torch

    runs = [list(same) for _, same in groupby(views, key=lambda view: view.shape[-1])]
    return torch.cat([network(_divisible(torch.cat(run), network)) for run in runs])


def _divisible(images: "Tensor", network: "nn.Module") -> "Tensor":
    from torch.nn.functional import interpolate

    patch = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    if patch is None:
        return images
    size = [-(-edge // step) * step for edge, step in zip(images.shape[-2:], patch, strict=True)]
    return images if size == list(images.shape[-2:]) else interpolate(images, size, mode="bilinear")
