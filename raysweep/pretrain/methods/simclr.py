"""SimCLR: two views of a patch are each other's positives, all other patches of the batch the negatives.

Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020. The smallest crop
is larger than the paper's 0.08: a tissue patch has no object that a small part of it could stand for.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from raysweep.model import Model
from raysweep.patches.recipe import Recipe
from raysweep.pretrain.method import Method, SourceClasses, TrainingProgress
from raysweep.pretrain.methods import register

if TYPE_CHECKING:
    from torch import Tensor, nn

    from raysweep.pretrain.batch import Batch


@register("simclr")
class SimCLR(Method):
    """A two-layer projection and the NT-Xent loss over the whole batch, gathered from all ranks."""

    class Options(Model):
        """Options of SimCLR."""

        tau: float = Field(0.1, gt=0, description="temperature")
        dim: int = Field(128, ge=2, description="width of the projection")
        crop: float = Field(0.2, gt=0, le=1, description="smallest area of a crop, as a fraction of the patch")
        colour: float = Field(0.5, ge=0, le=1, description="strength of the colour jitter; the paper's is 1")

    paper = "Chen et al. 2020, arXiv 2002.05709"
    accumulates = False
    optimizer = "adamw"
    lr = {"adamw": 1e-3, "sgd": 0.3, "lars": 0.3}  # noqa: RUF012 - a constant of the class
    weight_decay = 1e-4

    def views(self, px: int) -> list[Recipe]:
        c = self.options.colour
        recipe = Recipe(
            px, scale=(self.options.crop, 1.0), stretch=4 / 3,
            jitter=0.8, brightness=0.8 * c, contrast=0.8 * c, saturation=0.8 * c, hue=0.2 * c, grey=0.2, blur=0.5,
        )  # fmt: skip
        return [recipe, recipe]

    def module(self, backbone: "nn.Module", sources: Sequence[SourceClasses]) -> "nn.Module":
        from lightly.models.modules import SimCLRProjectionHead
        from torch import nn

        width = int(backbone.num_features)  # type: ignore[arg-type]
        return nn.ModuleDict({"backbone": backbone, "head": SimCLRProjectionHead(width, width, self.options.dim)})

    def forward(self, module: Any, batch: "Batch", progress: TrainingProgress) -> "dict[str, Any]":
        import torch

        return {"projected": module.head(module.backbone(torch.cat(batch.views)))}

    def loss(
        self, module: Any, outputs: "dict[str, Any]", batch: "Batch", progress: TrainingProgress
    ) -> "tuple[Tensor, dict[str, Tensor]]":
        from lightly.loss import NTXentLoss

        return NTXentLoss(self.options.tau, gather_distributed=True)(*outputs["projected"].chunk(2)), {}
