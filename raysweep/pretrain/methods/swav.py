"""SwAV: views of a patch predict each other's soft assignment to prototypes, which are used equally often.

Caron et al., "Unsupervised learning of visual features by contrasting cluster assignments", NeurIPS 2020. Values are
those of the authors' repository. The smallest crop of the large views is larger than its 0.14: a tissue patch has no
object that a small part of it could stand for.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationInfo, field_validator

from raysweep.model import Model
from raysweep.patches.recipe import Recipe
from raysweep.pretrain.method import Method, SourceClasses, TrainingProgress
from raysweep.pretrain.methods import register

if TYPE_CHECKING:
    from torch import Tensor, nn

    from raysweep.pretrain.batch import Batch

_ITERATIONS = 3  # of Sinkhorn-Knopp


@register("swav")
class SwAV(Method):
    """Two large and several small views, prototypes, and codes by Sinkhorn-Knopp over the batch of all ranks."""

    class Options(Model):
        """Options of SwAV."""

        tau: float = Field(0.1, gt=0, description="temperature of the predictions")
        epsilon: float = Field(0.05, gt=0, description="smoothness of the codes; 0.03 suits batches of a few hundred")
        dim: int = Field(128, ge=2, description="width of the projection")
        hidden: int = Field(2048, ge=2, description="width of the projection's hidden layer")
        prototypes: int = Field(3000, ge=2, description="number of prototypes")
        freeze_epochs: int = Field(1, ge=0, description="first epochs, in which the prototypes stay as they are")
        queue: int = Field(
            0, ge=0, description="patches of earlier batches that codes are made with; 3840 for batches of 256"
        )
        queue_epoch: int = Field(15, ge=0, description="epoch, from 0, in which the queue begins to fill")
        n_small: int = Field(6, ge=0, description="small views of a patch")
        small_px: int | None = Field(
            None, ge=16, description="their edge in pixels; default: 96/224 of the large, to a multiple of 16"
        )
        crop: float = Field(0.2, gt=0, le=1, description="smallest area of a large view's crop, largest of a small's")
        small_crop: float = Field(0.05, gt=0, le=1, description="smallest area of a small view's crop")
        colour: float = Field(1.0, ge=0, le=1, description="strength of the colour jitter; the paper's is 1")

        @field_validator("small_crop")
        @classmethod
        def _smaller(cls, value: float, info: ValidationInfo) -> float:
            if value > info.data.get("crop", 1.0):
                raise ValueError("small views are crops of small_crop to crop, so it cannot be larger than crop")
            return value

    paper = "Caron et al. 2020, arXiv 2006.09882"
    accumulates = False
    optimizer = "lars"
    # LARS: 4.8 at a batch of 4096. The repository has no others: these are as for SimCLR.
    lr = {"lars": 0.3, "sgd": 0.3, "adamw": 1e-3}  # noqa: RUF012 - a constant of the class
    weight_decay = 1e-6

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._embedded: Tensor | None = None  # of the step under way, until it ends
        self._queue_used = False  # in the step under way

    def views(self, px: int) -> list[Recipe]:
        options, c = self.options, self.options.colour

        def view(edge: int, scale: tuple[float, float]) -> Recipe:
            return Recipe(
                edge, scale=scale, stretch=4 / 3,
                jitter=0.8, brightness=0.8 * c, contrast=0.8 * c, saturation=0.8 * c, hue=0.2 * c, grey=0.2, blur=0.5,
            )  # fmt: skip

        small_px = options.small_px or max(16, 16 * round(px * 96 / 224 / 16))  # 16: the patches of most transformers
        large, small = view(px, (options.crop, 1.0)), view(small_px, (options.small_crop, options.crop))
        return [large] * 2 + [small] * options.n_small

    def module(self, backbone: "nn.Module", sources: Sequence[SourceClasses]) -> "nn.Module":
        from lightly.models.modules import SwaVProjectionHead
        from torch import nn

        from raysweep.pretrain.key_queue import KeyQueue

        options = self.options
        width = int(backbone.num_features)  # type: ignore[arg-type]
        parts = {
            "backbone": backbone,
            "head": SwaVProjectionHead(width, options.hidden, options.dim),
            "prototypes": nn.Linear(options.dim, options.prototypes, bias=False),
        }
        if options.queue:
            parts["queue"] = KeyQueue(options.queue, 2, options.dim)
        return nn.ModuleDict(parts)

    def before_step(self, module: Any, progress: TrainingProgress) -> None:
        from lightly.models.utils import normalize_weight

        normalize_weight(module.prototypes.weight)
        self._queue_used = self.options.queue > 0 and module.queue.full()  # asked outside what may be compiled

    def forward(self, module: Any, batch: "Batch", progress: TrainingProgress) -> "dict[str, Any]":
        import torch

        large, small = batch.views[:2], batch.views[2:]  # one pass for each size, as the authors do
        return {"embedded": [module.head(module.backbone(torch.cat(views))) for views in (large, small) if views]}

    def loss(
        self, module: Any, outputs: "dict[str, Any]", batch: "Batch", progress: TrainingProgress
    ) -> "tuple[Tensor, dict[str, Tensor]]":
        """Equation 2 over every ordered pair of a large view, which gives the code, and another, which predicts it.

        lightly's loss is not used: it takes exponentials of scores / epsilon, which overflow at a small epsilon, and
        would count a queue that all ranks share once for each of them.
        """
        import torch
        from torch.nn.functional import cross_entropy, normalize

        from raysweep.pretrain.ranks import gathered, rank

        embedded = [part for group in outputs["embedded"] for part in normalize(group, dim=1).split(len(batch))]
        scores = [module.prototypes(part) for part in embedded]
        self._embedded = torch.stack(embedded[:2], dim=1).detach()
        losses = []
        for large in range(2):
            with torch.no_grad():
                known = [gathered(scores[large].detach())]
                if self._queue_used:
                    known.append(module.prototypes(module.queue.rows[:, large]))
                codes = _codes(torch.cat(known), self.options.epsilon)
                own = codes[rank() * len(batch) :][: len(batch)]
            losses += [
                cross_entropy(score / self.options.tau, own) for view, score in enumerate(scores) if view != large
            ]
        return torch.stack(losses).mean(), {}

    def after_backward(self, module: Any, progress: TrainingProgress) -> None:
        if progress.epoch < self.options.freeze_epochs:
            module.prototypes.weight.grad = None

    def after_step(self, module: Any, progress: TrainingProgress) -> None:
        if self.options.queue and progress.epoch >= self.options.queue_epoch:
            module.queue.add(self._embedded)
        self._embedded = None


def _codes(scores: "Tensor", epsilon: float) -> "Tensor":
    """Sinkhorn-Knopp (section 3.1): float (n, prototypes), rows of sum 1, columns of nearly the same sum.

    In logarithms, where nothing overflows and no prototype's sum is 0.
    """
    logs = scores / epsilon
    for _ in range(_ITERATIONS):
        logs = logs - logs.logsumexp(0, keepdim=True)
        logs = logs - logs.logsumexp(1, keepdim=True)
    return logs.exp()
