"""Barlow Twins: dimensions of a patch's two projections agree with themselves and with no other dimension.

Zbontar et al., "Barlow Twins: self-supervised learning via redundancy reduction", ICML 2021. The correlations are of
the whole batch, gathered from all ranks.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from raysweep.model import Model
from raysweep.patches.recipe import Recipe
from raysweep.pretrain.method import Method, SourceClasses, TrainingProgress
from raysweep.pretrain.methods import register
from raysweep.pretrain.multicrop import multi_crop

if TYPE_CHECKING:
    from torch import Tensor, nn

    from raysweep.pretrain.batch import Batch

# The paper's rates with LARS are 0.2 for weights and 0.0048 for biases and norms, which LARS does not adapt. What LARS
# adapts, and AdamW, moves alike whatever a loss is multiplied by; what LARS leaves alone does not. So one rate of 0.2
# and a loss times 0.0048 / 0.2 give the paper's steps, and need no other rate of biases that would harm AdamW's.
_SCALE = 0.024


@register("barlowtwins")
class BarlowTwins(Method):
    """A wide three-layer projection, and the cross-correlation of two views led to the identity."""

    class Options(Model):
        """Options of Barlow Twins."""

        dim: int = Field(8192, ge=2, description="width of the projector's layers; memory grows with its square")
        redundancy: float = Field(5e-3, ge=0, description="weight of the correlations between dimensions (lambda)")
        crop: float = Field(0.2, gt=0, le=1, description="smallest area of a crop; the paper's 0.08 shows few cells")
        colour: float = Field(1.0, ge=0, le=2, description="strength of the colour jitter; the paper's is 1")

    paper = "Zbontar et al. 2021, arXiv 2103.03230"
    accumulates = False
    optimizer = "lars"
    # LARS: the paper. The paper has no others: these are as for SimCLR; SGD's is for the loss as scaled here.
    lr = {"lars": 0.2, "adamw": 1e-3, "sgd": 0.3}  # noqa: RUF012 - a constant of the class
    weight_decay = 1.5e-6

    def views(self, px: int) -> list[Recipe]:
        """BYOL's views: the first always blurred, the second seldom, and at times solarised."""
        return multi_crop(px, n_small=0, crop=self.options.crop, colour=self.options.colour)

    def module(self, backbone: "nn.Module", sources: Sequence[SourceClasses]) -> "nn.Module":
        from lightly.models.modules import BarlowTwinsProjectionHead
        from torch import nn

        width, dim = int(backbone.num_features), self.options.dim  # type: ignore[arg-type]
        return nn.ModuleDict({"backbone": backbone, "head": BarlowTwinsProjectionHead(width, dim, dim)})

    def forward(self, module: Any, batch: "Batch", progress: TrainingProgress) -> "dict[str, Any]":
        # View by view, as the authors do: each kind of view has batch statistics of its own.
        return {"projected": [module.head(module.backbone(view)) for view in batch.views]}

    def loss(
        self, module: Any, outputs: "dict[str, Any]", batch: "Batch", progress: TrainingProgress
    ) -> "tuple[Tensor, dict[str, Tensor]]":
        """The paper's loss (equation 1) times 0.024."""
        from lightly.loss import BarlowTwinsLoss

        from raysweep.pretrain.ranks import gathered

        # lightly's own gathering normalises every rank's share by itself, so it gets the whole batch as if on one rank.
        first, second = (gathered(projected) for projected in outputs["projected"])
        return _SCALE * BarlowTwinsLoss(self.options.redundancy)(first, second), {}
