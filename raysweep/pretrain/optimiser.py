"""The optimiser of a training, and what its learning rate and weight decay are at each step."""

import math
from collections.abc import Iterable
from typing import Any

import timm.optim
import torch
from torch import nn

from raysweep.pretrain.inputs import Settings
from raysweep.pretrain.method import Group, Method, TrainingProgress

# What timm's optimisers are called beyond their names.
_ARGUMENTS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.9},
    "lars": {"momentum": 0.9},  # trust coefficient 0.001; biases and norms keep the plain rate (You et al. 2017)
    "adamw": {"betas": (0.9, 0.999)},
}


class Optimiser:
    """A timm optimiser over a method's groups, led along its schedules."""

    def __init__(self, method: Method, module: nn.Module, settings: Settings) -> None:
        self._method, self._settings = method, settings
        exempt = _exempt(module)
        groups: list[dict] = []
        for group in method.groups(module):
            for decayed in (True, False):
                members = [p for p in group.parameters if (p.ndim > 1 and id(p) not in exempt) == decayed]
                if members:
                    groups.append(_made(group, members, decayed))
        arguments = dict(_ARGUMENTS[settings.optimizer])
        if settings.betas is not None:
            arguments["betas"] = settings.betas
        self.parameters = [p for group in groups for p in group["params"]]
        self.torch: torch.optim.Optimizer = timm.optim.create_optimizer_v2(
            groups, opt=settings.optimizer, lr=settings.lr, weight_decay=settings.weight_decay, **arguments
        )  # fmt: skip

    def lead(self, progress: TrainingProgress) -> float:
        """Set the step's learning rates and weight decays; returns the rate that factors are of."""
        settings = self._settings
        lr = self._method.lr_now(progress) or learning_rate(progress.step, progress.steps, settings)
        end = settings.weight_decay if settings.weight_decay_end is None else settings.weight_decay_end
        decay = progress.cosine(settings.weight_decay, end)
        for group in self.torch.param_groups:
            group["lr"] = lr * group["lr_factor"]
            group["weight_decay"] = decay * group["decay_factor"]
        return lr

    def step(self) -> torch.Tensor:
        """Clip, and move the parameters; returns the norm of their gradient before clipping, a scalar."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if self._settings.clip is not None:
            nn.utils.clip_grads_with_norm_(self.parameters, self._settings.clip, norm)
        self.torch.step()
        return norm


def learning_rate(step: int, steps: int, settings: Settings) -> float:
    """Linear warm-up to the peak, then half a cosine to 0 (Loshchilov & Hutter 2017), or the peak to the end."""
    warmup = settings.warmup * steps
    if step < warmup:
        return settings.lr * (step + 1) / (math.floor(warmup) + 1)
    if settings.schedule == "constant":
        return settings.lr
    return settings.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def _made(group: Group, members: Iterable[nn.Parameter], decayed: bool) -> dict:
    factor = group.decay_factor if decayed else 0.0
    return {
        "params": list(members),
        "lr_factor": group.lr_factor,
        "decay_factor": factor,
        "weight_decay": factor,
        "always_adapt": decayed,  # of LARS: by the kind of parameter, even where the decay is 0
    }


def _exempt(module: nn.Module) -> set[int]:
    """Parameters that timm's models name as not to be decayed, by identity."""
    found: set[int] = set()
    for part in module.modules():
        listed: Any = getattr(part, "no_weight_decay", None)
        names = listed() if callable(listed) else ()
        own = dict(part.named_parameters())
        found |= {id(own[name]) for name in names if name in own}
    return found
