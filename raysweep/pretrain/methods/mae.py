"""MAE: a vision transformer sees a quarter of a patch, and a small decoder paints the rest.

He et al., "Masked autoencoders are scalable vision learners", CVPR 2022. The weights of the transformer stay as they
come, random or trained, and so do its position embeddings, which the paper fixes. The decoder is thrown away.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationInfo, field_validator

from raysweep.errors import RequestError
from raysweep.model import Model
from raysweep.patches.recipe import Recipe
from raysweep.pretrain.method import Method, SourceClasses, TrainingProgress, check_vit
from raysweep.pretrain.methods import register

if TYPE_CHECKING:
    from torch import Tensor, nn

    from raysweep.pretrain.batch import Batch


@register("mae")
class MAE(Method):
    """Mean squared error of the masked tokens' pixels, each token's pixels normalised (section 4.1)."""

    only_vit = True

    class Options(Model):
        """Options of MAE."""

        ratio: float = Field(0.75, gt=0, lt=1, description="part of the tokens that is masked")
        crop: float = Field(0.2, gt=0, le=1, description="smallest area of a crop, as a fraction of the patch")
        width: int = Field(512, ge=4, multiple_of=4, description="of the decoder's tokens")
        depth: int = Field(8, ge=1, description="number of the decoder's blocks")
        heads: int = Field(16, ge=1, description="of the decoder's attention; divides its width")

        @field_validator("heads")
        @classmethod
        def _divides(cls, heads: int, info: ValidationInfo) -> int:
            if info.data.get("width", 0) % heads:
                raise ValueError(f"does not divide the decoder's width of {info.data['width']}")
            return heads

    paper = "He et al. 2022, arXiv 2111.06377"
    lr = {"adamw": 1.5e-4}  # noqa: RUF012 - a constant of the class
    betas = (0.9, 0.95)
    weight_decay = 0.05
    warmup = 0.05
    epochs = 400  # of their code; a masked patch is seen in many ways before it is known

    def views(self, px: int) -> list[Recipe]:
        return [Recipe(px, scale=(self.options.crop, 1.0), stretch=4 / 3)]

    def module(self, backbone: "nn.Module", sources: Sequence[SourceClasses]) -> "nn.Module":
        from lightly.models.modules import MaskedVisionTransformerTIMM
        from lightly.models.modules.masked_vision_transformer_decoder_timm import MaskedVisionTransformerDecoderTIMM
        from torch import nn

        check_vit("mae", backbone)
        vit: Any = backbone
        _freeze_pooling(vit)
        o = self.options
        side = max(vit.patch_embed.grid_size)  # positions for other sizes are interpolated from these
        decoder = MaskedVisionTransformerDecoderTIMM(
            num_patches=side * side, embed_dim=o.width, depth=o.depth, num_heads=o.heads,
            num_prefix_tokens=vit.num_prefix_tokens,
        )  # fmt: skip
        module = nn.ModuleDict(
            {
                "backbone": vit,
                "embed": nn.Linear(vit.embed_dim, o.width),
                "decoder": decoder,
                "pixels": nn.Linear(o.width, 3 * vit.patch_embed.patch_size[0] ** 2),
            }
        )
        for layer in (module["embed"], module["pixels"]):
            nn.init.xavier_uniform_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        # in a tuple: it runs the backbone and is no part of what is trained or saved
        runs = MaskedVisionTransformerTIMM(vit, weight_initialization="skip", pos_embed_initialization="skip")
        module.encoder = (runs,)  # type: ignore[assignment]
        return module

    def forward(self, module: Any, batch: "Batch", progress: TrainingProgress) -> "dict[str, Any]":
        import torch
        from lightly.models.utils import get_at_index, set_at_index
        from timm.layers import resample_abs_pos_embed

        from raysweep.pretrain.masks import kept_and_masked, token_grid

        images, prefix, decoder = batch.views[0], module.backbone.num_prefix_tokens, module.decoder
        grid = token_grid(module.backbone, images)
        tokens = grid[0] * grid[1]
        if tokens < 2:
            raise RequestError(
                f"px: views of {images.shape[-1]} px are one token; MAE needs some to see and some to paint"
            )
        kept, masked = kept_and_masked(batch, tokens, self.options.ratio)
        first = torch.arange(prefix, device=kept.device).expand(len(kept), prefix)
        seen = torch.cat([first, kept + prefix], dim=1)
        encoded = module.embed(module.encoder[0].encode(images, idx_keep=seen))
        blank = decoder.mask_token.to(encoded.dtype).expand(len(kept), prefix + tokens, -1)
        side = round((decoder.num_patches) ** 0.5)
        where = resample_abs_pos_embed(
            decoder.pos_embed, list(grid), old_size=[side, side], num_prefix_tokens=prefix
        )  # fmt: skip
        decoded = decoder.decode(set_at_index(blank, seen, encoded) + where)
        return {"painted": module.pixels(get_at_index(decoded, masked + prefix)), "masked": masked}

    def loss(
        self, module: Any, outputs: "dict[str, Any]", batch: "Batch", progress: TrainingProgress
    ) -> "tuple[Tensor, dict[str, Tensor]]":
        from lightly.models.utils import get_at_index, normalize_mean_var, patchify
        from torch.nn.functional import mse_loss

        tokens = patchify(batch.views[0], module.backbone.patch_embed.patch_size[0])
        return mse_loss(outputs["painted"], normalize_mean_var(get_at_index(tokens, outputs["masked"]))), {}


def _freeze_pooling(vit: Any) -> None:
    """What makes one vector of the tokens takes no part; it stays as it is, and so does a classifier."""
    for part in (vit.attn_pool, vit.fc_norm, vit.head):
        if part is not None:
            part.requires_grad_(False)
