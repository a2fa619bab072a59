"""DINO: small and large views of a patch must say what a slowly moving teacher says of its large views.

Caron et al., "Emerging properties in self-supervised vision transformers", ICCV 2021. Works on any backbone. The
checkpoint is the teacher's backbone, which is the better of the two throughout training (their section 5.2). The clip
is of the whole gradient, where their code clips each parameter's, and stochastic depth is left to the backbone.
"""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from raysweep.model import Model
from raysweep.patches.recipe import Recipe
from raysweep.pretrain.method import Method, SourceClasses, TrainingProgress
from raysweep.pretrain.methods import register
from raysweep.pretrain.multicrop import multi_crop, run_views

if TYPE_CHECKING:
    from torch import Tensor, nn

    from raysweep.pretrain.batch import Batch


@register("dino")
class DINO(Method):
    """Cross-entropy to a teacher that is the student's moving average, its outputs centred and sharpened."""

    class Options(Model):
        """Options of DINO."""

        dim: int = Field(65_536, ge=2, description="width of the heads' output")
        hidden: int = Field(2048, ge=2, description="width of the heads' hidden layers")
        n_small: int = Field(8, ge=0, description="number of small views")
        crop: float = Field(0.4, ge=0.05, le=1, description="smallest area of a large view, and largest of a small one")
        colour: float = Field(1.0, ge=0, le=2, description="strength of the colour jitter; the paper's is 1")
        momentum: float = Field(0.996, ge=0, le=1, description="of the teacher; half a cosine leads to 1")
        teacher_tau: float = Field(0.07, gt=0, description="the teacher's temperature after its warm-up from 0.04")
        tau_warmup: float = Field(0.3, ge=0, le=1, description="part of the steps in which that temperature rises")

    paper = "Caron et al. 2021, arXiv 2104.14294"
    lr = {"adamw": 5e-4, "sgd": 0.03}  # noqa: RUF012 - a constant of the class
    weight_decay = 0.04
    weight_decay_end = 0.4
    clip = 3.0

    def views(self, px: int) -> list[Recipe]:
        o = self.options
        return multi_crop(px, n_small=o.n_small, crop=o.crop, colour=o.colour)

    def module(self, backbone: "nn.Module", sources: Sequence[SourceClasses]) -> "nn.Module":
        from torch import nn

        from raysweep.pretrain.distil import Centre, twin_heads

        width = int(backbone.num_features)  # type: ignore[arg-type]
        head, teacher_head = twin_heads(width, self.options.hidden, self.options.dim)
        parts = {
            "backbone": backbone,
            "head": head,
            "teacher": copy.deepcopy(backbone).requires_grad_(False),
            "teacher_head": teacher_head,
            "centre": Centre(self.options.dim),
        }
        return nn.ModuleDict(parts)

    def exported(self, module: Any) -> "nn.Module":
        return module.teacher

    def forward(self, module: Any, batch: "Batch", progress: TrainingProgress) -> "dict[str, Any]":
        import torch

        student = module.head(run_views(module.backbone, batch.views))
        with torch.no_grad():
            teacher = module.teacher_head(run_views(module.teacher, batch.views[:2]))
        return {"student": student, "teacher": teacher}

    def loss(
        self, module: Any, outputs: "dict[str, Any]", batch: "Batch", progress: TrainingProgress
    ) -> "tuple[Tensor, dict[str, Tensor]]":
        from raysweep.pretrain.distil import cross_view_loss, teacher_tau

        tau = teacher_tau(progress, self.options.teacher_tau, self.options.tau_warmup)
        teacher = module.centre(outputs["teacher"], tau)
        views, n = len(batch.views), len(batch)
        return cross_view_loss(teacher.view(2, n, -1), outputs["student"].view(views, n, -1)), {}

    def after_backward(self, module: Any, progress: TrainingProgress) -> None:
        from raysweep.pretrain.distil import hold_last_layer

        hold_last_layer(module.head, progress)

    def after_step(self, module: Any, progress: TrainingProgress) -> None:
        from lightly.models.utils import update_momentum

        momentum = progress.cosine(self.options.momentum, 1.0)
        update_momentum(module.backbone, module.teacher, momentum)
        update_momentum(module.head, module.teacher_head, momentum)
        module.centre.move()
