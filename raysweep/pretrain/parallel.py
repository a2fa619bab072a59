"""One step of a method as a module, shared by the ranks of a training."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from raysweep.pretrain.batch import Batch
from raysweep.pretrain.method import Method, TrainingProgress
from raysweep.pretrain.sync_norm import share_norms


class Step(nn.Module):
    """Runs a method's networks, in bfloat16 where asked, then its loss in float32."""

    def __init__(self, method: Method, module: nn.Module, *, half: bool) -> None:
        super().__init__()
        self.method, self.module, self._half = method, module, half
        self._features: Tensor | None = None
        module.backbone.register_forward_hook(self._look)  # type: ignore[union-attr]

    def forward(self, batch: Batch, progress: TrainingProgress) -> tuple[Tensor, dict[str, Tensor]]:
        device = batch.labels.device.type
        self._features = None  # the backbone may have been run for something else
        with torch.autocast(device, torch.bfloat16, enabled=self._half):
            outputs = self.method.forward(self.module, batch, progress)
        with torch.autocast(device, enabled=False):
            loss, figures = self.method.loss(self.module, _in_float32(outputs), batch, progress)
        if self._features is not None:
            figures = {**figures, "spread": _spread(self._features.float())}
        self._features = None
        return loss, {name: figure.detach() for name, figure in figures.items()}

    def _look(self, module: nn.Module, inputs: Any, features: Any) -> None:
        if self._features is None and isinstance(features, Tensor) and features.ndim == 2:
            self._features = features.detach()


def _spread(features: Tensor) -> Tensor:
    """Mean standard deviation of the dimensions of unit-length features, times the root of their number.

    1 where they point everywhere, 0 where all are the same: collapsed (Chen & He 2021, section 4.1).
    """
    unit = nn.functional.normalize(features, dim=1)
    return unit.std(dim=0, unbiased=False).mean() * features.shape[1] ** 0.5


def shared_step(
    method: Method, module: nn.Module, device: torch.device, world: int, *, half: bool, compile: bool
) -> nn.Module:
    """The step of a method on a device, its gradients averaged over ranks and its norms shared by them.

    Raises RequestError as `share_norms`.
    """
    if world > 1:
        module = share_norms(module, device)
    step: nn.Module = Step(method, module, half=half)
    if compile:
        step.compile()
    if world == 1:
        return step
    # Looking for unused parameters lets heads be idle, and keeps gradient buckets as they were at the first step:
    # rebuilt ones would add up three or more ranks in another order after a resume.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # broadcast_buffers has another name from torch 2.14 on
        return DistributedDataParallel(
            step,
            device_ids=[device] if device.type == "cuda" else None,
            broadcast_buffers=False,  # statistics are shared as they are made; queues are filled alike on every rank
            find_unused_parameters=True,
        )


def _in_float32(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.dtype == torch.bfloat16 else value
    if isinstance(value, dict):
        return {key: _in_float32(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_in_float32(part) for part in value]
    return value
