"""Supervised pretraining: predict the patch's label.

Views are those of Kawai et al. 2023 (crops of 80-100 % of the area, mild colour jitter, blur, flips).
"""

from typing import TYPE_CHECKING

from pydantic import Field

from raysweep.model import Model
from raysweep.patches.recipe import Recipe
from raysweep.pretrain.method import Learner, Method
from raysweep.pretrain.methods import register

if TYPE_CHECKING:
    from torch import Tensor, nn


@register("supervised")
class Supervised(Method):
    """One linear layer on the pooled features, and cross-entropy."""

    class Options(Model):
        """Options of supervised pretraining."""

        crop: float = Field(0.8, gt=0, le=1, description="smallest area of a crop, as a fraction of the patch")
        colour: float = Field(1.0, ge=0, le=2, description="strength of the colour jitter; 0: none")
        smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing")

    needs_labels = True
    lr = {"adamw": 1e-3, "sgd": 0.1}  # noqa: RUF012 - a constant of the class
    weight_decay = 0.05

    def views(self, px: int) -> list[Recipe]:
        c = self.options.colour
        return [
            Recipe(
                px, scale=(self.options.crop, 1.0), stretch=4 / 3,
                jitter=0.8, brightness=0.4 * c, contrast=0.4 * c, saturation=0.4 * c, hue=0.1 * c, blur=0.1,
            )
        ]  # fmt: skip

    def head(self, width: int, classes: int) -> "nn.Module":
        from torch import nn

        return nn.Linear(width, classes)

    def loss(self, learner: "Learner", views: "list[Tensor]", labels: "Tensor") -> "tuple[Tensor, dict[str, Tensor]]":
        from torch.nn.functional import cross_entropy

        scores = learner.head(learner.backbone(views[0])).float()
        loss = cross_entropy(scores, labels, label_smoothing=self.options.smoothing)
        return loss, {"accuracy": (scores.argmax(1) == labels).float().mean()}
