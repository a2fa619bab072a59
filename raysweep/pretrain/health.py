"""Whether a training is sound: its losses and gradients are finite, its features differ, its patches can be read."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from raysweep.errors import WorkError
from raysweep.pretrain.inputs import Settings

_NEVER = 2.0**62  # a step that does not come


class Diverged(WorkError):
    """The loss or the gradient was not finite."""


class Health:
    """Sums over the steps of an epoch, on the device they were made on: no step waits for them."""

    def __init__(self, world: int, settings: Settings) -> None:
        self._world, self._settings = world, settings
        self._sums: dict[str, Tensor] = {}
        self._first_bad: Tensor | None = None
        self.corrupt: list[str] = []  # names of patches that could not be decoded, of all ranks after `means`

    def add(self, step: int, loss: Tensor, norm: Tensor, figures: dict[str, Tensor], corrupt: list[str]) -> None:
        """Take note of a step."""
        for name, value in {"loss": loss, "gradient_norm": norm, **figures}.items():
            value = value.detach().double()
            self._sums[name] = self._sums[name].to(value.device) + value if name in self._sums else value
        bad = torch.where(torch.isfinite(loss) & torch.isfinite(norm), _NEVER, float(step)).double()
        self._first_bad = bad if self._first_bad is None else torch.minimum(self._first_bad, bad)
        self.corrupt += [name for name in corrupt if name not in self.corrupt]

    def agree(self, save: bool) -> bool:
        """Whether rank 0 wants a state kept; every rank calls it at the same step.

        Raises Diverged on all ranks when a step of any of them was not finite.
        """
        assert self._first_bad is not None
        asked = torch.tensor(float(save), dtype=torch.float64, device=self._first_bad.device)
        both = torch.stack([self._first_bad, -asked])
        if self._world > 1:
            dist.all_reduce(both, dist.ReduceOp.MIN)
        first, wanted = both.tolist()
        if first < _NEVER:
            raise self._diverged(f"at step {int(first) + 1}: loss or gradient is not finite")
        return wanted < 0

    def check_weights(self, weights: dict[str, Tensor]) -> None:
        """Raises Diverged when the last step has left weights that are not finite."""
        if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
            raise self._diverged("at the last step: weights are not finite")

    def _diverged(self, where: str) -> Diverged:
        clip = "" if self._settings.clip else ", clip: 1.0"
        return Diverged(f"diverged {where}; try lr below {self._settings.lr:g}{clip} or a longer warmup")

    def means(self, steps: int) -> dict[str, float]:
        """The epoch's means over steps and ranks; every rank calls it. The next epoch's sums start at 0."""
        sums = self._totals()
        self._sums = {}
        self._share_corrupt()
        return {name: value / (steps * self._world) for name, value in sums.items()}

    def state(self) -> dict[str, Any]:
        """What rank 0 keeps of an epoch that is under way; every rank calls it."""
        totals = self._totals()
        self._share_corrupt()
        # from here on rank 0 has them, as it will have after a resume: the same sums in the same order
        alone = self._world == 1 or dist.get_rank() == 0
        self._sums = {n: torch.tensor(v if alone else 0.0, dtype=torch.float64) for n, v in totals.items()}
        return {"sums": totals, "world": self._world, "corrupt": self.corrupt}

    def restore(self, state: dict[str, Any] | None) -> None:
        """Go on from what rank 0 kept; None on the other ranks, whose sums are in it."""
        if state is not None:
            share = self._world / state["world"]  # there may be fewer ranks now, and a mean is over those of today
            self._sums = {n: torch.tensor(v * share, dtype=torch.float64) for n, v in state["sums"].items()}
            self.corrupt = list(state["corrupt"])

    def _share_corrupt(self) -> None:
        """Give every rank the names that any of them has found."""
        if self._world > 1:
            found: list[Any] = [None] * self._world
            dist.all_gather_object(found, self.corrupt)
            self.corrupt = sorted({name for names in found for name in names})

    def _totals(self) -> dict[str, float]:
        if self._sums:
            sums = torch.stack([value.cpu() for value in self._sums.values()])
            names = list(self._sums)
        else:
            sums, names = torch.zeros(0, dtype=torch.float64), []
        if self._world > 1 and names:
            if dist.get_backend() == "nccl":
                sums = sums.cuda()
            dist.all_reduce(sums)
        return dict(zip(names, sums.tolist(), strict=True))
