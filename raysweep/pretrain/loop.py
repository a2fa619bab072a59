"""The training loop of every pretraining method: one rank of any number, with or without Ray around it.

A step's batch is a function of (seed, epoch, step), of which each rank takes its slice, and views are functions of
(seed, epoch, patch key, view). So the number of ranks changes nothing but what batch normalisation sees (on a GPU,
where torch can share it between ranks, not even that), and nothing about random numbers has to be saved to resume.
"""

import math
import time
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from raysweep.backbones.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from raysweep.patches.order import Order
from raysweep.patches.read import PatchSet
from raysweep.pretrain.batches import Batches, TrainingRows
from raysweep.pretrain.inputs import Settings, make_method
from raysweep.pretrain.log import Log
from raysweep.pretrain.method import Method
from raysweep.randomness import torch_seed
from raysweep.storage import Storage


@dataclass(frozen=True)
class Job:
    """One pretraining. Small and picklable: it travels to every worker."""

    settings: Settings
    info: CheckpointInfo  # of the checkpoint to be made
    start: Storage  # folder of the checkpoint file to start from
    patches: Storage
    out: Storage  # folder that the result, metrics and events are written to
    seed: int
    threads: int  # of each rank


class Keeper(Protocol):
    """Where the state of a training is kept between epochs."""

    def last(self) -> dict[str, Any] | None:
        """The state to go on from, if any."""

    def keep(self, state: dict[str, Any] | None, metrics: dict[str, float]) -> None:
        """Keep the state of an epoch's end; called by every rank, with None by all but rank 0."""


class Learner(nn.Module):
    """A backbone and a method's head, trained together."""

    def __init__(self, method: Method, backbone: nn.Module, classes: int, seed: int) -> None:
        super().__init__()
        self.method, self.backbone = method, backbone
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(seed, "head"))
            self.head = method.head(int(backbone.num_features), classes)  # type: ignore[arg-type]

    def forward(self, views: list[Tensor], labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.method.loss(self, views, labels)


def train(job: Job, keeper: Keeper, *, rank: int = 0, world: int = 1, device: torch.device | str = "cpu") -> None:
    """Train to the last epoch, from where the keeper's last state left off; rank 0 writes the checkpoint.

    With more than one rank, torch.distributed is initialised by the caller and `world` divides the batch.
    """
    settings, device = job.settings, torch.device(device)
    torch.set_num_threads(job.threads)
    patches = PatchSet(job.patches)
    method = make_method(settings.method, settings.options)
    rows = TrainingRows(patches, labelled=method.needs_labels)
    order = Order(rows.rows, batch=settings.batch, seed=job.seed)
    share = settings.batch // world
    batches = Batches(
        patches, rows, order, method.views(settings.px or patches.px),
        share=(rank * share, (rank + 1) * share), seed=job.seed, mean=job.info.mean, std=job.info.std,
        threads=job.threads, pin=device.type == "cuda",
    )  # fmt: skip

    learner = Learner(method, load_checkpoint(job.start)[0], len(patches.classes), job.seed)
    learner = learner.to(device).to(memory_format=torch.channels_last)  # convolutions are 10-20 % faster so
    optimizer = _optimizer(learner, settings)
    state = keeper.last()
    history: list[dict[str, Any]] = []
    if state is not None:
        learner.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        history = state["history"]
    model = _parallel(learner, world, device).train()
    log = Log(job.out, epochs_done=len(history)) if rank == 0 else None

    for epoch in range(len(history), settings.epochs):
        started, waited, sums = time.monotonic(), 0.0, _Sums()
        asked = started
        for step, batch in enumerate(batches.epoch(epoch)):
            batch = batch.to(device)
            waited += time.monotonic() - asked
            lr = _learning_rate(epoch * order.steps + step, settings.epochs * order.steps, settings)
            for group in optimizer.param_groups:
                group["lr"] = lr
            torch.manual_seed(torch_seed(job.seed, "step", epoch, step, rank))  # for dropout and the like
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss, figures = model(batch.views, batch.labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            sums.add(loss, figures)
            if log:
                log.step((epoch * order.steps + step + 1) * settings.batch)
            asked = time.monotonic()
        metrics = {
            "epoch": epoch + 1, **sums.means(order.steps, world), "lr": lr, "images": order.steps * settings.batch,
            "wait_seconds": waited, "epoch_seconds": time.monotonic() - started,
        }  # fmt: skip
        history = [*history, metrics]
        kept = {"model": learner.state_dict(), "optimizer": optimizer.state_dict(), "history": history}
        keeper.keep(kept if rank == 0 else None, metrics)
        if log:
            log.epoch(history)

    if log:
        log.close()
        save_checkpoint(job.out, learner.backbone.state_dict(), job.info)


class _Sums:
    """Sums of the loss and of a method's figures, on the device they were made on: no step waits for them."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, loss: Tensor, figures: dict[str, Tensor]) -> None:
        for name, value in {"loss": loss, **figures}.items():
            value = value.detach().double()
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def means(self, steps: int, world: int) -> dict[str, float]:
        """Over steps and ranks."""
        sums = torch.stack(list(self._sums.values()))
        if world > 1:
            dist.all_reduce(sums)
        return dict(zip(self._sums, (sums / (steps * world)).tolist(), strict=True))


def _parallel(learner: Learner, world: int, device: torch.device) -> nn.Module:
    if world == 1:
        return learner
    if device.type == "cuda":
        shared = nn.SyncBatchNorm.convert_sync_batchnorm(learner)
        return DistributedDataParallel(shared, device_ids=[device], broadcast_buffers=False)
    # Looking for unused parameters keeps gradient buckets as they were at the first step. Rebuilt ones would add up
    # three or more ranks in another order after a resume.
    return DistributedDataParallel(learner, broadcast_buffers=False, find_unused_parameters=True)


def _optimizer(learner: Learner, settings: Settings) -> torch.optim.Optimizer:
    """AdamW or SGD with momentum 0.9; biases and normalisation layers are not decayed."""
    trained = [p for p in learner.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=0.9)
    return torch.optim.AdamW(groups, lr=settings.lr)


def _learning_rate(step: int, steps: int, settings: Settings) -> float:
    """Linear warm-up to the peak, then half a cosine to 0 (Loshchilov & Hutter 2017)."""
    warmup = settings.warmup * steps
    if step < warmup:
        return settings.lr * (step + 1) / (math.floor(warmup) + 1)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
