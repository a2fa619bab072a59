"""MoCo v2: a patch's other view is told from keys of earlier batches, which a slowly moving network has made.

He et al., "Momentum contrast for unsupervised visual representation learning", CVPR 2020; Chen et al., "Improved
baselines with momentum contrastive learning", 2020. Values are those of the authors' repository.

Batch statistics can give the positive away: it is the only key of the batch under way, the others' statistics are of
older ones. The authors therefore shuffle keys between GPUs, so that a query and its key are normalised with different
patches; statistics over all GPUs are, in their words, not sufficient. Here the queries' statistics are of the whole
batch, and keys are made in `groups`, each with statistics of its own. Group g holds every `groups`-th patch of the
batch from the g-th on, of all ranks, so the number of ranks changes nothing; a batch is shuffled as it is. An
`accuracy` that climbs to 1 within a few epochs shows that the positive is given away.
"""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from raysweep.errors import RequestError
from raysweep.model import Model
from raysweep.patches.recipe import Recipe
from raysweep.pretrain.method import Method, SourceClasses, TrainingProgress
from raysweep.pretrain.methods import register

if TYPE_CHECKING:
    from torch import Tensor, nn

    from raysweep.pretrain.batch import Batch


@register("mocov2")
class MoCoV2(Method):
    """A momentum network, a queue of its keys, and cross-entropy of the positive among them (InfoNCE)."""

    class Options(Model):
        """Options of MoCo v2."""

        tau: float = Field(0.2, gt=0, description="temperature")
        dim: int = Field(128, ge=2, description="width of the projection")
        queue: int = Field(65_536, ge=1, description="keys kept; fewer than there are patches, or some are of the same")
        momentum: float = Field(0.999, ge=0, le=1, description="part of itself that the key network keeps in a step")
        groups: int = Field(
            8, ge=1, description="parts of a batch whose keys have batch statistics of their own; divides each worker's"
        )
        crop: float = Field(0.2, gt=0, le=1, description="smallest area of a crop, as a fraction of the patch")
        colour: float = Field(1.0, ge=0, le=2, description="strength of the colour jitter; the paper's is 1")

    paper = "Chen et al. 2020, arXiv 2003.04297"
    optimizer = "sgd"
    # SGD: the repository. AdamW and LARS: MoCo v3 (arXiv 2104.02057) for vision transformers and ResNet-50.
    lr = {"sgd": 0.03, "adamw": 1.5e-4, "lars": 0.3}  # noqa: RUF012 - a constant of the class
    weight_decay = 1e-4
    warmup = 0.0

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._keys: list[Tensor] = []  # of the step under way, until it ends

    def note(self, patches: int) -> str:
        queue = self.options.queue
        if queue < patches:
            return ""
        return (
            f"options.queue: {queue:,} keys are kept and there are {patches:,} patches, so a patch meets keys of "
            "its own among the negatives; a fraction of their number is usual"
        )

    def views(self, px: int) -> list[Recipe]:
        c = self.options.colour
        recipe = Recipe(
            px, scale=(self.options.crop, 1.0), stretch=4 / 3,
            jitter=0.8, brightness=0.4 * c, contrast=0.4 * c, saturation=0.4 * c, hue=0.1 * c, grey=0.2, blur=0.5,
        )  # fmt: skip
        return [recipe, recipe]

    def module(self, backbone: "nn.Module", sources: Sequence[SourceClasses]) -> "nn.Module":
        from lightly.models.modules import MoCoProjectionHead
        from torch import nn

        from raysweep.pretrain.key_queue import KeyQueue

        width = int(backbone.num_features)  # type: ignore[arg-type]
        head = MoCoProjectionHead(width, width, self.options.dim)
        return nn.ModuleDict(
            {
                "backbone": backbone,
                "head": head,
                "key_backbone": copy.deepcopy(backbone).requires_grad_(False),
                "key_head": copy.deepcopy(head).requires_grad_(False),
                "queue": KeyQueue(self.options.queue, self.options.dim),
            }
        )

    def before_step(self, module: Any, progress: TrainingProgress) -> None:
        self._keys = []

    def forward(self, module: Any, batch: "Batch", progress: TrainingProgress) -> "dict[str, Any]":
        import torch

        queries, keys = batch.views
        with torch.no_grad():
            made = module.key_head(self._in_groups(module.key_backbone, keys))
        return {"queries": module.head(module.backbone(queries)), "keys": made}

    def loss(
        self, module: Any, outputs: "dict[str, Any]", batch: "Batch", progress: TrainingProgress
    ) -> "tuple[Tensor, dict[str, Tensor]]":
        import torch
        from torch.nn.functional import cross_entropy, normalize

        queries, keys = normalize(outputs["queries"], dim=1), normalize(outputs["keys"], dim=1)
        self._keys.append(keys)
        alike = torch.cat([(queries * keys).sum(1, keepdim=True), queries @ module.queue.rows.T], dim=1)
        first = torch.zeros(len(queries), dtype=torch.int64, device=queries.device)
        loss = cross_entropy(alike / self.options.tau, first)
        return loss, {"accuracy": (alike.argmax(1) == 0).float().mean()}

    def after_step(self, module: Any, progress: TrainingProgress) -> None:
        import torch
        from lightly.models.utils import update_momentum

        # The repository moves the key network at the start of the next step: the same networks meet.
        update_momentum(module.backbone, module.key_backbone, self.options.momentum)
        update_momentum(module.head, module.key_head, self.options.momentum)
        module.queue.add(torch.cat(self._keys))
        self._keys = []

    def _in_groups(self, network: "nn.Module", views: "Tensor") -> "Tensor":
        """The network's features (n, num_features), batch statistics being those of a group."""
        import torch
        from torch.nn.modules.batchnorm import _BatchNorm

        groups, count = self.options.groups, len(views)
        if groups == 1 or not any(isinstance(layer, _BatchNorm) for layer in network.modules()):
            return network(views)
        if count % groups:
            raise RequestError(
                f"options.groups: {count} patches (a worker's share of a batch, or of a part of it) cannot be divided "
                f"into {groups} equal groups for mocov2; choose a divisor of {count}, or another batch"
            )
        made = torch.stack([network(views[group::groups]) for group in range(groups)], dim=1)
        return made.flatten(0, 1)  # back in the order of the samples
