"""Batch normalisation over the whole batch of a step, however many ranks share it.

On GPUs this is torch's SyncBatchNorm, which refuses the CPU; there, a small module with the same names and the same
statistics takes its place.
"""

from typing import Any

import torch
from timm.layers import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from raysweep.errors import RequestError
from raysweep.pretrain.ranks import gathered, summed


def share_norms(module: nn.Module, device: torch.device) -> nn.Module:
    """The module with every batch normalisation shared by all ranks; parameters and names stay.

    Raises RequestError for a kind of batch normalisation whose statistics cannot be shared.
    """
    if device.type == "cuda":
        return convert_sync_batchnorm(module)
    for layer in module.modules():
        if isinstance(layer, _BatchNorm) and not isinstance(layer, _SharedStatistics):
            made = _SHARED.get(type(layer))
            if made is None:
                raise RequestError(
                    f"backbone: the statistics of {type(layer).__name__} cannot be shared by several workers on CPUs; "
                    "set compute.workers to 1"
                )
            layer.__class__ = made  # the same parameters, buffers and names
    return module


class _SharedStatistics(_BatchNorm):
    """Normalises by the mean and variance of all ranks' samples while training (Ioffe & Szegedy 2015)."""

    def forward(self, input: Tensor) -> Tensor:
        normed = self._normed(input)
        drop, act = getattr(self, "drop", None), getattr(self, "act", None)
        if drop is not None:
            normed = drop(normed)
        return normed if act is None else act(normed)

    def _normed(self, x: Tensor) -> Tensor:
        if not (self.training or self.running_mean is None):
            return functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )  # fmt: skip
        wide = x.float() if x.dtype == torch.bfloat16 else x
        over = [axis for axis in range(x.ndim) if axis != 1]
        with torch.no_grad():
            count = x.numel() // x.shape[1]
            # Every rank's count, mean and variance: one collective, and no digits lost (Chan et al. 1979).
            variances, means = torch.var_mean(wide, over, correction=0)
            ranks = gathered(torch.cat([means, variances, wide.new_tensor([float(count)])])[None])
            means, variances, counts = ranks[:, : x.shape[1]], ranks[:, x.shape[1] : -1], ranks[:, -1:]
            n = float(counts.sum())
            mean = (means * counts).sum(0) / n
            variance = ((variances + (means - mean) ** 2) * counts).sum(0) / n
            self._remember(mean, variance, n)
        return _Normalised.apply(wide, self.weight, self.bias, mean, variance, self.eps, n).to(x.dtype)

    def _remember(self, mean: Tensor, variance: Tensor, n: float) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * (n / max(n - 1, 1)), share)


class _Normalised(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, mean and variance being those of all ranks' samples.

    The gradient flows through them too: with g that of the output and c = x - mean, that of x is
    weight / s * (g - sum(g) / n - c * sum(g c) / (n s^2)), sums over all n samples (Ioffe & Szegedy 2015).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, eps: float,
        n: float,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(variance + eps))
        ctx.n = n
        return functional.batch_norm(x, mean, variance, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, weight, mean, scale = ctx.saved_tensors
        over = [axis for axis in range(x.ndim) if axis != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        centred = x - mean.view(shape)
        own_sum, own_product = gradient.sum(over), (gradient * centred).sum(over)
        both = summed(torch.stack([own_sum, own_product])) / ctx.n
        grad_x = centred.mul_((-both[1] * scale**2).view(shape)).add_(gradient).sub_(both[0].view(shape))
        grad_x.mul_((scale if weight is None else scale * weight).view(shape))
        has_affine = weight is not None
        return (
            grad_x,
            own_product * scale if has_affine else None,
            own_sum if has_affine else None,
            None,
            None,
            None,
            None,
        )


class _Shared1d(_SharedStatistics, nn.BatchNorm1d):
    pass


class _Shared2d(_SharedStatistics, nn.BatchNorm2d):
    pass


class _SharedAct2d(_SharedStatistics, BatchNormAct2d):
    pass


_SHARED: dict[type, type[_SharedStatistics]] = {
    nn.BatchNorm1d: _Shared1d,
    nn.BatchNorm2d: _Shared2d,
    BatchNormAct2d: _SharedAct2d,
}
