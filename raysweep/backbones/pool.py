"""How a vision transformer's tokens become one vector of features."""

from typing import Any

import torch
from torch import Tensor, nn

from raysweep.backbones.given import Pool
from raysweep.errors import RequestError


def set_pool(model: nn.Module, pool: Pool | None, name: str) -> nn.Module:
    """Make a vision transformer pool its tokens in this way; None leaves it as timm builds it.

    `token` is the class token, `avg` the mean of the patch tokens, `token+avg` the two joined, which doubles
    `num_features` (Virchow2: Zimmermann et al., arXiv 2408.00738). Class and register tokens are never in the mean.
    The names of the weights stay as they are. `name` is the model's, to be said.

    Raises RequestError for a model without such tokens, or one that normalises after pooling.
    """
    if pool is None:
        return model
    prefix = int(getattr(model, "num_prefix_tokens", -1))
    if prefix < 0 or not callable(getattr(model, "pool", None)) or getattr(model, "attn_pool", None) is not None:
        raise RequestError(f"pool {pool}: {name} is no vision transformer with tokens to pool; leave pool out")
    if pool != "avg" and not getattr(model, "has_class_token", prefix > int(getattr(model, "num_reg_tokens", 0))):
        raise RequestError(f"pool {pool}: {name} has no class token; use pool: avg")
    if pool == "token+avg" and not isinstance(getattr(model, "fc_norm", None) or nn.Identity(), nn.Identity):
        raise RequestError(f"pool {pool}: {name} normalises what it has pooled; use pool: avg")
    state: Any = model
    if pool != "token+avg":
        state.global_pool = pool
        state.pool_include_prefix = False
        return model
    width = int(state.embed_dim)
    state.__class__ = _joined(type(state))
    state.num_features = state.head_hidden_size = 2 * width
    return model


def _joined(transformer: type) -> type:
    """The class of transformer with another way of pooling; a wrapper would change the names of the weights."""

    def pool(self: Any, x: Tensor, pool_type: str | None = None) -> Tensor:
        """Tokens (n, tokens, width) to features (n, 2 width)."""
        if pool_type is not None:
            joined: Tensor = transformer.pool(self, x, pool_type)  # type: ignore[attr-defined]
            return joined
        return torch.cat([x[:, 0], x[:, self.num_prefix_tokens :].mean(dim=1)], dim=-1)

    return type(transformer.__name__, (transformer,), {"pool": pool, "__module__": transformer.__module__})
