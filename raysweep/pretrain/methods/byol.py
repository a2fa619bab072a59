"""BYOL: one network predicts what another, its own average over time, makes of a patch's other view.

Grill et al., "Bootstrap your own latent: a new approach to self-supervised learning", NeurIPS 2020. Rates, weight decay
and momentum are those that the authors' repository gives for 100 epochs.
"""

import copy
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


@register("byol")
class BYOL(Method):
    """An online network with a predictor, a target network that follows it, and no negatives.

    Where samples are alike in everything, all are mapped to one point: watch `spread`, which falls towards 0.
    """

    class Options(Model):
        """Options of BYOL."""

        momentum: float = Field(
            0.99, ge=0, le=1, description="part of itself that the target keeps in the first step; a cosine leads to 1"
        )
        dim: int = Field(256, ge=2, description="width of projection and prediction")
        hidden: int = Field(4096, ge=2, description="width of the hidden layers of projector and predictor")
        crop: float = Field(0.2, gt=0, le=1, description="smallest area of a crop; the paper's 0.08 shows few cells")
        colour: float = Field(1.0, ge=0, le=2, description="strength of the colour jitter; the paper's is 1")

    paper = "Grill et al. 2020, arXiv 2006.07733"
    optimizer = "lars"
    # LARS: the repository. SGD: SimSiam's (arXiv 2011.10566), which also compares BYOL's parts with it. AdamW: MoCo
    # v3's (arXiv 2104.02057), where BYOL's vision transformers take the same.
    lr = {"lars": 0.45, "sgd": 0.05, "adamw": 1.5e-4}  # noqa: RUF012 - a constant of the class
    weight_decay = 1e-6

    def views(self, px: int) -> list[Recipe]:
        """Two views of different make: the first always blurred, the second seldom, and at times solarised."""
        return multi_crop(px, n_small=0, crop=self.options.crop, colour=self.options.colour)

    def module(self, backbone: "nn.Module", sources: Sequence[SourceClasses]) -> "nn.Module":
        from torch import nn

        projector = self._head(int(backbone.num_features))  # type: ignore[arg-type]
        return nn.ModuleDict(
            {
                "backbone": backbone,
                "projector": projector,
                "predictor": self._head(self.options.dim),
                "target_backbone": copy.deepcopy(backbone).requires_grad_(False),
                "target_projector": copy.deepcopy(projector).requires_grad_(False),
            }
        )

    def forward(self, module: Any, batch: "Batch", progress: TrainingProgress) -> "dict[str, Any]":
        import torch

        # View by view, as the authors do: each kind of view has batch statistics of its own.
        predicted = [module.predictor(module.projector(module.backbone(view))) for view in batch.views]
        with torch.no_grad():
            targets = [module.target_projector(module.target_backbone(view)) for view in batch.views]
        return {"predicted": predicted, "targets": targets}

    def loss(
        self, module: Any, outputs: "dict[str, Any]", batch: "Batch", progress: TrainingProgress
    ) -> "tuple[Tensor, dict[str, Tensor]]":
        """Equation 2 for both ways round: squared distance of unit vectors, in [0, 8]."""
        from lightly.loss import NegativeCosineSimilarity

        (first, second), (first_target, second_target) = outputs["predicted"], outputs["targets"]
        minus_cosine = NegativeCosineSimilarity()
        return 4 + 2 * (minus_cosine(first, second_target) + minus_cosine(second, first_target)), {}

    def after_step(self, module: Any, progress: TrainingProgress) -> None:
        from lightly.models.utils import update_momentum

        momentum = progress.cosine(self.options.momentum, 1.0)
        update_momentum(module.backbone, module.target_backbone, momentum)
        update_momentum(module.projector, module.target_projector, momentum)

    def _head(self, width: int) -> "nn.Module":
        """lightly's BYOL heads have a bias in their last layer; the authors' repository and Kawai et al. have none."""
        from lightly.models.modules.heads import ProjectionHead
        from torch import nn

        hidden, dim = self.options.hidden, self.options.dim
        return ProjectionHead([(width, hidden, nn.BatchNorm1d(hidden), nn.ReLU()), (hidden, dim, None, None, False)])
