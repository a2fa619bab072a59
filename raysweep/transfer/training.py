"""The steps of a fine-tuning: AdamW with a warm-up and a cosine, in as many portions as memory demands."""

import math
from collections.abc import Callable
from contextlib import closing

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from raysweep.backbones.norms import freeze_norms
from raysweep.randomness import torch_seed
from raysweep.transfer.batches import Batch, Batches
from raysweep.transfer.job import Diverged, Job
from raysweep.transfer.network import Network
from raysweep.transfer.portions import Portions
from raysweep.transfer.preprocess import Preprocess

_WARMUP = 0.05  # part of the steps
_CHECK_STEPS = 10  # a loss is looked at this often: on a GPU each look waits for it
_THREADS = 2  # at least, that make batches ahead


class Training:
    """Trains a network by a job's batches, step by step. Deterministic to the bit on CPU for the same threads."""

    def __init__(
        self, job: Job, network: Network, batches: Batches, *, loss: Callable[[Tensor, Tensor], Tensor],
        preprocess: Preprocess, augment: float, groups: list[dict], train_norms: bool, portions: Portions,
    ) -> None:  # fmt: skip
        """
        Args:
            loss: of logits and targets, the mean over a batch.
            augment: strength of the colour changes, from 0 to 1.
            groups: for AdamW; their rates are peaks.
            train_norms: whether the backbone's batch norms follow the statistics of the batches.
            portions: how many images at a time; what a step needs less memory for is added up, so that the optimiser
                sees the batch. Only what a loss or a batch norm takes from a whole batch is then taken from a portion.
        """
        self._job, self._network, self._batches = job, network, batches
        self._loss, self._preprocess, self._augment = loss, preprocess, augment
        self._train_norms, self._portions = train_norms, portions
        self._device = torch.device("cuda" if job.gpu else "cpu")
        self.optimizer = torch.optim.AdamW(groups)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: _lr_factor(step, job.steps))
        self.step = 0  # done so far

    def until(self, end: int) -> float:
        """Train up to a step and give the mean loss on the way. Raises Diverged, or WorkError for a sample."""
        self._network.train()
        _still(self._network.backbone, norms=not self._train_norms)
        losses: list[float] = []
        unseen: list[Tensor] = []
        with closing(self._batches.steps(self.step, end, threads=max(_THREADS, self._job.threads))) as batches:
            for batch in batches:
                unseen.append(self._train_step(batch))
                self.step += 1
                if len(unseen) == _CHECK_STEPS or self.step == end:
                    losses += torch.stack(unseen).tolist()
                    unseen.clear()
                    bad = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), None)
                    if bad is not None:
                        step = self.step - len(losses) + bad + 1
                        raise Diverged(f"training diverged at step {step}: the loss is {losses[bad]}; use a lower lr")
        return float(np.mean(losses))

    def _train_step(self, batch: Batch) -> Tensor:
        loss = self._portions.run(lambda size: self._gradients(batch, size))
        self.optimizer.step()
        self.schedule.step()
        return loss

    def _gradients(self, batch: Batch, size: int) -> Tensor:
        """Leave the gradients of the batch's loss, a portion at a time, and give the loss."""
        self.optimizer.zero_grad()
        total = torch.zeros((), device=self._device)
        with torch.random.fork_rng(devices=[self._device] if self._job.gpu else []):  # dropout and drop path
            torch.manual_seed(torch_seed(self._job.seed, "step", self.step))
            for start in range(0, len(batch.pixels), size):
                part = slice(start, start + size)
                targets = torch.from_numpy(batch.targets[part]).to(self._device).long()
                with torch.autocast(self._device.type, torch.bfloat16, enabled=self._job.gpu):
                    colours = batch.colours[part] * self._augment
                    logits = self._network(self._preprocess(batch.pixels[part], colours))
                loss = self._loss(logits.float(), targets) * (len(targets) / len(batch.targets))
                loss.backward()
                total += loss.detach()
        return total


def _still(backbone: nn.Module, *, norms: bool) -> None:
    """Put batch norms into evaluation mode: of layers that are not trained, and with `norms` all."""
    if norms:
        freeze_norms(backbone)
    for module in backbone.modules():
        if isinstance(module, _BatchNorm) and module.affine and not module.weight.requires_grad:
            module.eval()


def _lr_factor(step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine towards zero."""
    warmup = max(1, round(_WARMUP * steps))
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
