"""Multi-task pretraining: one backbone, one linear classifier for each source.

Mormont et al., "Multi-task pre-training of deep neural networks for digital pathology", IEEE JBHI 2021: every sample
first draws its task, all alike, then an image of it. The loss is the mean of the cross-entropy over the batch; a head
sees |B_i| of its B samples, so its gradient is scaled by B / |B_i|. The backbone may be frozen while heads warm up, its
batch statistics too, and before training batch normalisation is set to the statistics of the pool (`batch_norm:
recalibrate`).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from raysweep.errors import RequestError
from raysweep.model import Model
from raysweep.patches.recipe import Recipe
from raysweep.pretrain.method import Group, Method, SourceClasses, TrainingProgress
from raysweep.pretrain.methods import register

if TYPE_CHECKING:
    from torch import Tensor, nn

    from raysweep.pretrain.batch import Batch


@register("multitask")
class MultiTask(Method):
    """A linear head for each source, and the batch's mean cross-entropy."""

    class Options(Model):
        """Options of multi-task pretraining."""

        crop: float = Field(0.8, gt=0, le=1, description="smallest area of a crop, as a fraction of the image")
        colour: float = Field(0.5, ge=0, le=2, description="strength of the colour jitter; 0: none")
        head_lr_factor: float = Field(1.0, gt=0, description="of the heads' learning rate to the backbone's (tau)")
        warmup_steps: int = Field(0, ge=0, description="first steps, in which only the heads are trained")
        warmup_lr: float = Field(1e-3, gt=0, description="the heads' learning rate in them")

    paper = "Mormont et al. 2021, arXiv 2005.02561"
    needs_labels = True
    sources_alike = True
    accumulates = False  # heads are scaled by their share of the whole batch
    optimizer = "sgd"
    lr = {"sgd": 4e-4, "adamw": 1e-4}  # noqa: RUF012 - a constant of the class; 1e-4 at the paper's 64 images
    weight_decay = 0.0
    warmup = 0.0
    steps = 50_000
    batch_norm = "recalibrate"

    def views(self, px: int) -> list[Recipe]:
        c = self.options.colour
        return [
            Recipe(
                px, scale=(self.options.crop, 1.0), stretch=4 / 3,
                jitter=0.8 if c else 0.0, brightness=0.4 * c, contrast=0.4 * c, saturation=0.4 * c, hue=0.1 * c,
            )
        ]  # fmt: skip

    def module(self, backbone: "nn.Module", sources: Sequence[SourceClasses]) -> "nn.Module":
        from torch import nn

        few = [source.name for source in sources if len(source.classes) < 2]
        if few:
            raise RequestError(f"patches: {', '.join(few)} has no labels of at least two classes to learn from")
        width = int(backbone.num_features)  # type: ignore[arg-type]
        heads = nn.ModuleList(nn.Linear(width, len(source.classes)) for source in sources)
        return nn.ModuleDict({"backbone": backbone, "heads": heads})

    def before_step(self, module: Any, progress: TrainingProgress) -> None:
        module.backbone.train(not self._warms_up(progress))

    def forward(self, module: Any, batch: "Batch", progress: TrainingProgress) -> "dict[str, Any]":
        import torch

        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._warms_up(progress)):
            features = module.backbone(batch.views[0])
        counts = torch.bincount(batch.sources, minlength=len(module.heads))
        return {"features": features, "counts": counts}

    def loss(
        self, module: Any, outputs: "dict[str, Any]", batch: "Batch", progress: TrainingProgress
    ) -> "tuple[Tensor, dict[str, Tensor]]":
        from torch.nn.functional import cross_entropy, linear

        from raysweep.pretrain.ranks import summed

        features = outputs["features"]
        counts = summed(outputs["counts"].to(features))  # of the whole batch
        total = counts.sum()
        loss, right = features.new_zeros(()), features.new_zeros(())
        for task, head in enumerate(module.heads):
            own = batch.sources == task
            scale = float(total / counts[task].clamp(min=1))
            weight, bias = (_with_gradient_times(p, scale) for p in (head.weight, head.bias))
            scores = linear(features[own], weight, bias)  # an idle head takes part with no sample: a gradient of 0
            loss = loss + cross_entropy(scores, batch.labels[own], reduction="sum")
            right = right + (scores.argmax(1) == batch.labels[own]).sum()
        return loss / len(batch), {"accuracy": right / len(batch)}

    def groups(self, module: Any) -> list[Group]:
        return [
            Group([p for p in module.backbone.parameters() if p.requires_grad]),
            Group(list(module.heads.parameters()), lr_factor=self.options.head_lr_factor),
        ]

    def lr_now(self, progress: TrainingProgress) -> float | None:
        return self.options.warmup_lr / self.options.head_lr_factor if self._warms_up(progress) else None

    def _warms_up(self, progress: TrainingProgress) -> bool:
        return progress.step < self.options.warmup_steps


def _with_gradient_times(parameter: "Tensor", factor: float) -> "Tensor":
    """The parameter, whose gradient comes out multiplied."""
    return parameter + (factor - 1) * (parameter - parameter.detach())
