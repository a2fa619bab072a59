"""What the two gloo processes of the equality tests run."""

import contextlib
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from raysweep.backbones.checkpoint import save_checkpoint
from raysweep.backbones.init import initial_weights
from raysweep.pretrain.inputs import settings
from raysweep.pretrain.loop import Job, train
from raysweep.pretrain.methods.simclr import SimCLR
from raysweep.pretrain.spec import CheckpointSpec
from raysweep.storage import Storage


class NoKeeper:
    """Starts anew and keeps nothing."""

    def last(self) -> None:
        return None

    def keep(self, state: dict[str, Any] | None, metrics: dict[str, float]) -> None:
        pass


class FileKeeper:
    """Keeps the last state in a file, and dies once after the first epoch."""

    def __init__(self, path: str) -> None:
        self.path = path

    def last(self) -> dict[str, Any] | None:
        return torch.load(self.path, weights_only=True) if Path(self.path).exists() else None

    def keep(self, state: dict[str, Any] | None, metrics: dict[str, float]) -> None:
        first = not Path(self.path).exists()
        dist.barrier()
        if state is not None:
            torch.save(state, self.path)
        dist.barrier()
        if first:
            raise InterruptedError


def job(out: Storage, patches: Storage, *, seed: int = 0, backbone: str = "test_vit", **keys: Any) -> Job:
    """A training of two epochs of 32 patches a step, its starting weights written below `out`."""
    spec = CheckpointSpec(
        backbone=backbone, patches="set", **{"method": "supervised", "epochs": 2, "batch": 32, **keys}
    )
    initial = initial_weights("random", backbone, seed=seed)
    start = out.at("resume", "start")
    if not start.exists("backbone.safetensors"):
        save_checkpoint(start, initial.weights, initial.info)
    chosen = settings(spec)
    assert chosen is not None
    return Job(chosen, initial.info, start, patches, out, seed, 1)


def run(job: Job, *, plain_head: bool = False) -> None:
    """Train with as many ranks as there are; `plain_head`: SimCLR without batch statistics in its head."""
    if plain_head:
        SimCLR.head = lambda self, width, classes: nn.Linear(width, 16)  # type: ignore[method-assign]
    if dist.is_initialized():
        train(job, NoKeeper(), rank=dist.get_rank(), world=dist.get_world_size())
    else:
        train(job, NoKeeper())


def run_in_two_parts(job: Job, path: str) -> None:
    """Train, die after the first epoch, and go on."""
    for _ in range(2):
        with contextlib.suppress(InterruptedError):
            train(job, FileKeeper(path), rank=dist.get_rank(), world=dist.get_world_size())


def run_plain(job: Job) -> None:
    before = SimCLR.head
    try:
        run(job, plain_head=True)
    finally:
        SimCLR.head = before  # type: ignore[method-assign]


def serve(connection: Any, rank: int, world: int, store: str) -> None:
    """Run what is asked for until None comes."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    while (request := connection.recv()) is not None:
        function, arguments = request
        try:
            connection.send(globals()[function](*arguments))
        except Exception as error:
            connection.send(error)
    dist.destroy_process_group()
