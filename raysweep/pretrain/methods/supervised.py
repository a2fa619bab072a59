"""Supervised pretraining: predict the patch's label.

Views are those of Kawai et al. 2023 (crops of 80-100 % of the area, mild colour jitter, blur, flips). Of several
sources, classes of the same name are one class.
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


@register("supervised")
class Supervised(Method):
    """One linear layer on the pooled features, and cross-entropy."""

    class Options(Model):
        """Options of supervised pretraining."""

        crop: float = Field(0.8, gt=0, le=1, description="smallest area of a crop, as a fraction of the patch")
        colour: float = Field(1.0, ge=0, le=2, description="strength of the colour jitter; 0: none")
        smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing")
        dropout: float = Field(0.0, ge=0, lt=1, description="of the features, before the classifier")

    paper = "Kawai et al. 2023, arXiv 2303.15693"
    needs_labels = True
    lr = {"adamw": 1e-3, "sgd": 0.1, "lars": 0.3}  # noqa: RUF012 - a constant of the class
    weight_decay = 0.05

    def views(self, px: int) -> list[Recipe]:
        c = self.options.colour
        return [
            Recipe(
                px, scale=(self.options.crop, 1.0), stretch=4 / 3,
                jitter=0.8, brightness=0.4 * c, contrast=0.4 * c, saturation=0.4 * c, hue=0.1 * c, blur=0.1,
            )
        ]  # fmt: skip

    def module(self, backbone: "nn.Module", sources: Sequence[SourceClasses]) -> "nn.Module":
        import torch
        from torch import nn

        names = list(dict.fromkeys(name for source in sources for name in source.classes))
        width = int(backbone.num_features)  # type: ignore[arg-type]
        head = nn.Sequential(nn.Dropout(self.options.dropout), nn.Linear(width, len(names)))
        module = nn.ModuleDict({"backbone": backbone, "head": head})
        table = torch.zeros(len(sources), max(len(source.classes) for source in sources), dtype=torch.int64)
        for row, source in enumerate(sources):
            table[row, : len(source.classes)] = torch.tensor([names.index(name) for name in source.classes])
        module.register_buffer("class_of", table)  # of (source, label), in the union of all names
        return module

    def forward(self, module: Any, batch: "Batch", progress: TrainingProgress) -> "dict[str, Any]":
        return {"scores": module.head(module.backbone(batch.views[0]))}

    def loss(
        self, module: Any, outputs: "dict[str, Any]", batch: "Batch", progress: TrainingProgress
    ) -> "tuple[Tensor, dict[str, Tensor]]":
        from torch.nn.functional import cross_entropy

        scores, classes = outputs["scores"], module.class_of[batch.sources, batch.labels]
        loss = cross_entropy(scores, classes, label_smoothing=self.options.smoothing)
        return loss, {"accuracy": (scores.argmax(1) == classes).float().mean()}
