"""What batch norms carry from the data that they were trained on: kept by default, reset, or recalibrated."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle


def reset_norms(model: nn.Module, *, affine: bool) -> int:
    """Set running statistics of batch norms to mean 0 and variance 1, and with `affine` scale to 1 and shift to 0.

    Frozen norms are left alone: timm's frozen classes, and scales that take no gradient. Returns how many were reset.
    """
    layers = _norms(model)
    for layer in layers:
        layer.reset_running_stats()
        if affine:
            layer.reset_parameters()
    return len(layers)


def freeze_norms(model: nn.Module) -> None:
    """Let batch norms use and keep their running statistics in training; scale and shift are trained.

    It holds until the model, or a part of it, is put into training mode again.
    """
    for layer in _norms(model):
        layer.eval()


@torch.no_grad()
def recalibrate_norms(model: nn.Module, batches: Iterable[Tensor]) -> int:
    """Give batch norms the running statistics of other data without changing what the model answers.

    Running mean and variance become those of the batches at each layer (variance unbiased, as torch keeps it); scale
    and shift take up the difference: with s = sqrt(variance + eps), scale' = scale s'/s and shift' = shift + scale
    (mean' - mean) / s, so that in eval mode every layer gives what it gave. As no answer changes, one pass serves all
    layers. Mormont et al. (IEEE JBHI 2021) do so before they train on data whose statistics are far from the old ones.

    Args:
        model: left in the mode it is in; the batches are seen in eval mode.
        batches: normalised images, float (n, 3, h, w), on the model's device; at least two values for each channel.

    Frozen norms (`reset_norms`), and those without scale and shift, which could not take up the difference, are left
    alone. Returns how many were recalibrated; raises ValueError when there is no batch.
    """
    layers = [layer for layer in _norms(model) if layer.affine]
    seen = {layer: _Moments() for layer in layers}
    handles: list[RemovableHandle] = [
        layer.register_forward_pre_hook(lambda module, inputs: seen[module].add(inputs[0])) for layer in layers
    ]
    modes = {module: module.training for module in model.modules()}
    model.eval()
    count = 0
    try:
        for images in batches:
            model(images)
            count += 1
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
    if not count:
        raise ValueError("recalibrate_norms: there is no batch")
    met = [layer for layer in layers if seen[layer].count > 1]
    for layer in met:
        _absorb(layer, seen[layer])
    return len(met)


def _norms(model: nn.Module) -> list[_BatchNorm]:
    """Batch norms that keep statistics and may be trained; BatchNormAct2d of timm is one of them."""
    return [
        layer
        for layer in model.modules()
        if isinstance(layer, _BatchNorm)
        and layer.running_mean is not None
        and not (layer.affine and not layer.weight.requires_grad)
    ]


@dataclass
class _Moments:
    """Mean and sum of squared distances of each channel, joined batch by batch (Chan et al. 1979), in float64."""

    count: int = 0
    mean: Tensor | None = None
    squares: Tensor | None = None

    def add(self, values: Tensor) -> None:
        """values: (n, channels) or (n, channels, ...)."""
        flat = values.detach().double().movedim(1, 0).flatten(1)
        count, mean = flat.shape[1], flat.mean(dim=1)
        squares = (flat - mean[:, None]).square().sum(dim=1)
        if self.mean is None or self.squares is None:
            self.count, self.mean, self.squares = count, mean, squares
            return
        total, step = self.count + count, mean - self.mean
        self.squares = self.squares + squares + step.square() * self.count * count / total
        self.mean = self.mean + step * count / total
        self.count = total


def _absorb(layer: _BatchNorm, seen: _Moments) -> None:
    assert layer.running_mean is not None
    assert layer.running_var is not None
    assert seen.mean is not None
    assert seen.squares is not None
    variance = seen.squares / (seen.count - 1)
    before = (layer.running_var.double() + layer.eps).sqrt()
    scale = layer.weight.double() / before
    layer.bias.copy_(layer.bias.double() + scale * (seen.mean - layer.running_mean.double()))
    layer.weight.copy_(scale * (variance + layer.eps).sqrt())
    layer.running_mean.copy_(seen.mean)
    layer.running_var.copy_(variance)
