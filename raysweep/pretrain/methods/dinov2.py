"""DINOv2: DINO on the whole view, iBOT on masked tokens, and a term that spreads features; for vision transformers.

Oquab et al., "DINOv2: learning robust visual features without supervision", TMLR 2024; iBOT: Zhou et al., ICLR 2022;
KoLeo: Sablayrolles et al., ICLR 2019. This is what most pathology models are trained with. Defaults are those of their
code for a training of 100 epochs on one node, but that iBOT has a head of its own, as in their large trainings; these
take a rate of 2e-4 per 1,024, layer_decay 1, dim 131,072, Sinkhorn-Knopp centring, and a weight decay of 0.04 to 0.2.
Stochastic depth is left to the backbone, and layer_decay is timm's: the last block learns at the full rate, and patch
embeddings at no other than position embeddings. The checkpoint is the teacher's backbone.
"""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from raysweep.model import Model
from raysweep.patches.recipe import Recipe
from raysweep.pretrain.method import Group, Method, SourceClasses, TrainingProgress, check_vit
from raysweep.pretrain.methods import register
from raysweep.pretrain.multicrop import multi_crop, run_views

if TYPE_CHECKING:
    from torch import Tensor, nn

    from raysweep.pretrain.batch import Batch


@register("dinov2")
class DINOv2(Method):
    """DINO + iBOT + 0.1 KoLeo, from a teacher that is the student's moving average and sees all tokens.

    Where the backbone pools otherwise than by its class token, what it pools takes the class token's place.
    """

    only_vit = True

    class Options(Model):
        """Options of DINOv2."""

        dim: int = Field(65_536, ge=2, description="width of the heads' output")
        hidden: int = Field(2048, ge=2, description="width of the heads' hidden layers")
        separate_heads: bool = Field(True, description="whether masked tokens have a head of their own")
        n_small: int = Field(8, ge=0, description="number of small views")
        crop: float = Field(
            0.32, ge=0.05, le=1, description="smallest area of a large view, and largest of a small one"
        )
        colour: float = Field(1.0, ge=0, le=2, description="strength of the colour jitter; the paper's is 1")
        momentum: float = Field(0.992, ge=0, le=1, description="of the teacher; half a cosine leads to 1")
        teacher_tau: float = Field(0.07, gt=0, description="the teacher's temperature after its warm-up from 0.04")
        tau_warmup: float = Field(0.3, ge=0, le=1, description="part of the steps in which that temperature rises")
        centring: Literal["mean", "sinkhorn"] = Field("mean", description="moving mean, or Sinkhorn-Knopp")
        koleo: float = Field(0.1, ge=0, description="weight of the KoLeo term")
        layer_decay: float = Field(
            0.9, gt=0, le=1, description="factor of the learning rate from a block to the one before"
        )

    paper = "Oquab et al. 2024, arXiv 2304.07193"
    accumulates = False  # KoLeo and Sinkhorn-Knopp compare the patches of a batch
    lr = {"adamw": 4e-3}  # noqa: RUF012 - a constant of the class
    lr_batch = 1024
    lr_rule = "sqrt"
    weight_decay = 0.04
    weight_decay_end = 0.4
    clip = 3.0

    def views(self, px: int) -> list[Recipe]:
        o = self.options
        return multi_crop(px, n_small=o.n_small, crop=o.crop, colour=o.colour)

    def module(self, backbone: "nn.Module", sources: Sequence[SourceClasses]) -> "nn.Module":
        import torch
        from lightly.models.modules import MaskedVisionTransformerTIMM
        from torch import nn

        from raysweep.pretrain.distil import Centre, twin_heads

        check_vit("dinov2", backbone)
        vit: Any = backbone
        o = self.options
        parts = {"backbone": vit, "teacher": copy.deepcopy(vit).requires_grad_(False)}
        parts["head"], parts["teacher_head"] = twin_heads(vit.num_features, o.hidden, o.dim)
        if o.separate_heads:
            parts["token_head"], parts["teacher_token_head"] = twin_heads(vit.embed_dim, o.hidden, o.dim)
        if o.centring == "mean":
            parts |= {"centre": Centre(o.dim), "token_centre": Centre(o.dim)}
        module = nn.ModuleDict(parts)
        module.register_parameter("mask_token", nn.Parameter(torch.zeros(1, 1, vit.embed_dim)))
        # in a tuple: it runs the backbone with the mask token, and both are saved under names of their own
        runs = MaskedVisionTransformerTIMM(
            vit, module.mask_token, weight_initialization="skip", pos_embed_initialization="skip"
        )
        module.encoder = (runs,)  # type: ignore[assignment]
        return module

    def exported(self, module: Any) -> "nn.Module":
        return module.teacher

    def forward(self, module: Any, batch: "Batch", progress: TrainingProgress) -> "dict[str, Any]":
        import torch

        from raysweep.pretrain.masks import block_masks, token_grid

        vit, prefix = module.backbone, module.backbone.num_prefix_tokens
        grid = token_grid(vit, batch.views[0])
        mask = torch.cat([block_masks(batch, f"mask {view}", grid) for view in (0, 1)]).flatten(1)
        large, small = torch.cat(batch.views[:2]), batch.views[2:]
        hidden = torch.cat([mask.new_zeros(len(mask), prefix), mask], dim=1)
        tokens = module.encoder[0].encode(large, mask=hidden)
        pooled = vit.forward_head(tokens)
        said = module.head(torch.cat([pooled, run_views(vit, small)]) if small else pooled)
        with torch.no_grad():
            seen = module.teacher.forward_features(large)
            taught = module.teacher_head(module.teacher.forward_head(seen))
            tokens_taught = self._token_head(module, "teacher_")(seen[:, prefix:][mask])
        tokens_said = self._token_head(module, "")(tokens[:, prefix:][mask])
        return {
            "said": said, "taught": taught, "tokens_said": tokens_said, "tokens_taught": tokens_taught,
            "pooled": pooled, "mask": mask,
        }  # fmt: skip

    def loss(
        self, module: Any, outputs: "dict[str, Any]", batch: "Batch", progress: TrainingProgress
    ) -> "tuple[Tensor, dict[str, Tensor]]":
        from lightly.loss import KoLeoLoss

        from raysweep.pretrain.distil import cross_view_loss, sinkhorn, teacher_tau
        from raysweep.pretrain.ranks import gathered

        o, n = self.options, len(batch)
        tau = teacher_tau(progress, o.teacher_tau, o.tau_warmup)
        if o.centring == "mean":
            taught, tokens_taught = (
                module.centre(outputs["taught"], tau),
                module.token_centre(outputs["tokens_taught"], tau),
            )
        else:
            taught, tokens_taught = (sinkhorn(outputs[name], tau) for name in ("taught", "tokens_taught"))
        dino = cross_view_loss(taught.view(2, n, -1), outputs["said"].view(len(batch.views), n, -1))
        ibot = _token_loss(tokens_taught, outputs["tokens_said"], outputs["mask"])
        # neighbours are those of the same view: the other view of a patch would always be the nearest
        koleo = sum(KoLeoLoss()(gathered(view)) for view in outputs["pooled"].chunk(2))
        return dino + ibot + o.koleo * koleo, {"dino": dino, "ibot": ibot, "koleo": koleo}

    def after_backward(self, module: Any, progress: TrainingProgress) -> None:
        from raysweep.pretrain.distil import hold_last_layer

        hold_last_layer(module.head, progress)
        hold_last_layer(self._token_head(module, ""), progress)

    def after_step(self, module: Any, progress: TrainingProgress) -> None:
        from lightly.models.utils import update_momentum

        momentum = progress.cosine(self.options.momentum, 1.0)
        update_momentum(module.backbone, module.teacher, momentum)
        update_momentum(module.head, module.teacher_head, momentum)
        if self.options.separate_heads:
            update_momentum(module.token_head, module.teacher_token_head, momentum)
        if self.options.centring == "mean":
            module.centre.move()
            module.token_centre.move()

    def groups(self, module: Any) -> list[Group]:
        from timm.optim import param_groups_layer_decay

        made = param_groups_layer_decay(module.backbone, layer_decay=self.options.layer_decay)
        groups = [Group(list(part["params"]), lr_factor=float(part["lr_scale"])) for part in made]
        inside = {id(p) for group in groups for p in group.parameters}
        rest = [p for p in module.parameters() if p.requires_grad and id(p) not in inside]
        return [*groups, Group(rest)]

    def _token_head(self, module: Any, whose: str) -> Any:
        return module[f"{whose}token_head" if self.options.separate_heads else f"{whose}head"]


def _token_loss(teacher: "Tensor", student: "Tensor", mask: "Tensor") -> "Tensor":
    """Cross-entropy of masked tokens: their mean in each image, then the mean of all images (iBOT, equation 3).

    lightly's has the same value, but moves its centre by the mean of the ranks' means, and ranks mask different numbers
    of tokens.

    Args:
        teacher: probabilities, (masked tokens, dim).
        student: outputs, (masked tokens, dim).
        mask: bool (images, tokens).
    """
    import torch

    from raysweep.pretrain.distil import STUDENT_TAU

    each = -(teacher * torch.log_softmax(student / STUDENT_TAU, dim=-1)).sum(-1)
    share = (1 / mask.sum(1, keepdim=True).clamp(min=1)).expand_as(mask)[mask]
    return (each * share).sum() / len(mask)
