"""What the gloo processes of the equality tests run."""

import contextlib
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from raysweep.backbones.checkpoint import save_checkpoint
from raysweep.backbones.create import create_backbone
from raysweep.backbones.init import initial_weights
from raysweep.pretrain.batch import Batch
from raysweep.pretrain.health import Health
from raysweep.pretrain.inputs import make_method, settings
from raysweep.pretrain.loop import Job, build_module, train
from raysweep.pretrain.method import SourceClasses, TrainingProgress
from raysweep.pretrain.optimiser import Optimiser
from raysweep.pretrain.parallel import shared_step
from raysweep.pretrain.source import SourceInput
from raysweep.pretrain.spec import CheckpointSpec
from raysweep.pretrain.states import States
from raysweep.pretrain.team import Saving
from raysweep.randomness import stable_hash
from raysweep.storage import Storage

SOURCES = [SourceClasses("first", ("a", "b", "c")), SourceClasses("second", ("c", "d"))]
_STEPS = 2  # the second starts from what the first left in buffers, teachers and queues


def job(out: Storage, patches: Storage, *, seed: int = 0, backbone: str = "test_vit", **keys: Any) -> Job:
    """A training of two epochs of 32 patches a step, its starting weights written below `out`."""
    saving = Saving(steps=keys.pop("save", None))
    spec = CheckpointSpec(
        backbone=backbone, patches="set", **{"method": "supervised", "epochs": 2, "batch": 32, **keys}
    )
    initial = initial_weights("random", backbone, seed=seed)
    start = out.at("resume", "start")
    if not start.exists("backbone.safetensors"):
        save_checkpoint(start, initial.weights, initial.info)
    chosen = settings(spec)
    assert chosen is not None
    sources = (SourceInput("set", patches),)
    return Job(chosen, initial.info, start, sources, out, seed, 1, saving=saving)


def run(work: Job) -> None:
    """Train with as many ranks as there are."""
    if dist.is_initialized():
        train(work, rank=dist.get_rank(), world=dist.get_world_size())
    else:
        train(work)


def run_in_two_parts(work: Job, dies_at: int) -> None:
    """Train, die when the state of a step is written, and go on from it."""
    whole = States.save

    def save(self: States, step: int, state: dict[str, Any]) -> None:
        whole(self, step, state)
        if step == dies_at:
            self.close()
            raise InterruptedError

    States.save = save  # type: ignore[method-assign]
    try:
        with contextlib.suppress(InterruptedError, RuntimeError):  # the other ranks only see that one is gone
            run(work)
    finally:
        States.save = whole  # type: ignore[method-assign]


def global_batch(method: str, options: dict[str, Any], step: int, batch: int, px: int) -> Batch:
    """The same views of the same patches for whoever asks, float64: what is equal is equal beyond rounding."""
    numbers = torch.Generator().manual_seed(step)
    recipes = make_method(method, options).views(px)
    views = [torch.randn(batch, 3, recipe.px, recipe.px, generator=numbers, dtype=torch.float64) for recipe in recipes]
    sources = torch.randint(0, 2, (batch,), generator=numbers)
    labels = torch.randint(0, 2, (batch,), generator=numbers)
    keys = np.array([stable_hash(step, i) for i in range(batch)], np.uint64)
    return Batch(views, labels, sources, keys, 5, 0)


def one_step(
    method: str, options: dict[str, Any], backbone: str, *, batch: int = 8, px: int = 32, parts: int = 1,
    frozen_norms: bool = False,
) -> dict[str, torch.Tensor]:  # fmt: skip
    """Two steps of plain SGD on a fixed global batch, of which each rank takes its slice.

    Returns the loss of each step (mean over ranks), the gradients of the second and everything in the module after it.
    """
    chosen = make_method(method, options)
    world = dist.get_world_size() if dist.is_initialized() else 1
    rank = dist.get_rank() if dist.is_initialized() else 0
    module = build_module(chosen, create_backbone(backbone, seed=0), SOURCES, 3).double().train()
    step_of = shared_step(chosen, module, torch.device("cpu"), world, half=False, compile=False)
    spec = CheckpointSpec(backbone=backbone, method=method, options=options, patches="p", optimizer="sgd", lr=0.05)
    fixed = settings(spec)
    assert fixed is not None
    optimiser = Optimiser(chosen, module, fixed.model_copy(update={"clip": None, "warmup": 0.0}))
    found: dict[str, torch.Tensor] = {}
    for step in range(_STEPS):
        progress = TrainingProgress(step + 1, _STEPS + 2, step + 1, _STEPS + 2)
        whole = global_batch(method, options, step, batch, px)
        each = batch // world
        share = list(whole.parts(world))[rank]
        assert len(share) == each
        optimiser.lead(progress)
        optimiser.torch.zero_grad(set_to_none=True)
        chosen.before_step(module, progress)
        if frozen_norms:
            for layer in module.modules():
                if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
                    layer.eval()
        losses = []
        for part in share.parts(parts):
            loss, _ = step_of(part, progress)
            (loss / parts).backward()
            losses.append(loss.detach())
        chosen.after_backward(module, progress)
        mean = torch.stack(losses).mean()
        if world > 1:
            dist.all_reduce(mean)
        found[f"loss {step}"] = mean / world
        if step + 1 == _STEPS:
            found |= {f"gradient {n}": p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}
        optimiser.step()
        chosen.after_step(module, progress)
    return found | {f"state {name}": value.clone() for name, value in module.state_dict().items()}


def corrupt_in_state() -> list[str]:
    """Every rank finds a corrupt patch of its own; what the state of a step keeps of them."""
    spec = CheckpointSpec(backbone="test_resnet", method="supervised", patches="p")
    chosen = settings(spec)
    assert chosen is not None
    health = Health(dist.get_world_size(), chosen)
    health.add(0, torch.tensor(1.0), torch.tensor(1.0), {}, [f"{dist.get_rank()}.jpg"])
    return health.state()["corrupt"]


def serve(connection: Any, rank: int, world: int, store: str) -> None:
    """Run what is asked for until None comes."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    while (request := connection.recv()) is not None:
        function, arguments, keys = request
        try:
            connection.send(globals()[function](*arguments, **keys))
        except Exception as error:
            connection.send(error)
    dist.destroy_process_group()
