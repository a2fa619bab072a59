"""The training loop of every pretraining method: one rank of any number, with or without Ray around it.

A step's batch is a function of (seed, epoch, step), of which each rank takes its slice, and views are functions of
(seed, epoch, patch key, view). Normalisation layers share their statistics and losses gather what they compare. So the
number of ranks changes nothing but the order of sums, and nothing about random numbers has to be saved to resume.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from raysweep.backbones.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from raysweep.backbones.norms import freeze_norms, recalibrate_norms, reset_norms
from raysweep.errors import WorkError
from raysweep.memory import keep_memory
from raysweep.patches.mixture import Mixture
from raysweep.pretrain.batches import Loader, Painter, ThreadLoader
from raysweep.pretrain.gauges import Gauges
from raysweep.pretrain.health import Health
from raysweep.pretrain.inputs import Settings, make_method
from raysweep.pretrain.log import Log
from raysweep.pretrain.method import Method, SourceClasses, TrainingProgress
from raysweep.pretrain.optimiser import Optimiser
from raysweep.pretrain.parallel import shared_step
from raysweep.pretrain.probe import Probe, ProbeInput
from raysweep.pretrain.reader import Reader
from raysweep.pretrain.rows import TrainingRows
from raysweep.pretrain.source import SourceInput
from raysweep.pretrain.states import States
from raysweep.pretrain.team import Saving
from raysweep.pretrain.trackers import Trackers
from raysweep.randomness import torch_seed
from raysweep.storage import Storage

_CHECK_STEPS = 20  # between looks at what all ranks must agree on
_CALIBRATION_BATCHES = 8


class Unwritten(WorkError):
    """Every step is done but the result cannot be written. No other rank waits for the one that raises it."""


@dataclass(frozen=True)
class Job:
    """One pretraining. Small and picklable: it travels to every worker."""

    settings: Settings
    info: CheckpointInfo  # of the checkpoint to be made
    start: Storage  # folder of the checkpoint file to start from
    sources: tuple[SourceInput, ...]
    out: Storage  # folder that the result, metrics and events are written to
    seed: int
    threads: int  # of each rank
    split_seed: int = 0  # that the folds of labelled sets are drawn with: the study's
    saving: Saving = field(default_factory=Saving)
    compile: bool = False
    name: str = "pretraining"  # the checkpoint's; it and the study's are for people to read
    study: str = "raysweep"
    probe: ProbeInput | None = None
    trackers: tuple[str, ...] = ()


def train(
    job: Job,
    *,
    rank: int = 0,
    world: int = 1,
    device: torch.device | str = "cpu",
    loader: Callable[[Reader, Mixture, tuple[int, int]], Loader] | None = None,
    gauges: Gauges | None = None,
    leaving: Callable[[], Sequence[str]] = tuple,
) -> None:
    """Train to the last step, from where the last state kept left off; rank 0 writes the checkpoint.

    With more than one rank, torch.distributed is initialised by the caller and `world` divides the batch. `loader`
    makes what prepares batches; by default threads of this process do. Rank 0 keeps `gauges` up to date. `leaving`
    names the nodes that are about to be taken away: a state is kept when there is a new one. Every rank asks it at the
    same steps.

    Raises Diverged on every rank when the loss or the gradient is not finite any more, Unwritten on rank 0 when all
    steps are done and the checkpoint cannot be written.
    """
    if torch.device(device).type == "cpu":
        keep_memory()
    training = _Training(job, rank, world, torch.device(device), loader, gauges, leaving)
    try:
        training.run()
    finally:
        training.states.close()  # the state that is being written is one to go on from, whatever has ended the steps


class _Training:
    def __init__(
        self, job: Job, rank: int, world: int, device: torch.device, loader: Any, gauges: Any, leaving: Any
    ) -> None:
        settings = job.settings
        torch.set_num_threads(job.threads)
        self._job, self._rank, self._world, self._device = job, rank, world, device
        self._gauges, self._leaving, self._left = gauges, leaving, set[str]()
        self._method = make_method(settings.method, settings.options)
        rows = open_rows(job)
        self._mixture = plan_steps(job, rows)
        recipes = settings.recipes(job.info.px or rows[0].patches.px)
        each = settings.batch // world
        share = (rank * each, (rank + 1) * each)
        reader = Reader(rows, recipes, seed=job.seed, capacity=self._mixture.groups_to_keep(*share))
        make = loader or self._threads
        self._loader: Loader = make(reader, self._mixture, share)
        self._painter = Painter(recipes, job.seed, job.info.mean, job.info.std, device)
        self._steps = settings.steps or (settings.epochs or 1) * self._mixture.steps
        self._epochs = -(-self._steps // self._mixture.steps)

        sources = [SourceClasses(row.source.name, tuple(row.classes)) for row in rows]
        self.states = States(job.out.at("resume", "states"))
        self._state = self.states.last()
        backbone = load_checkpoint(job.start)[0].to(device)
        if self._state is None:
            self._normalise(backbone)
        module = build_module(self._method, backbone, sources, job.seed)
        self._module = module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._half = {"auto": device.type == "cuda", "float32": False, "bfloat16": True}[settings.precision]

    def _threads(self, reader: Reader, mixture: Mixture, share: tuple[int, int]) -> Loader:
        return ThreadLoader(
            reader, mixture, share=share, threads=self._job.threads, pin=self._device.type == "cuda"
        )  # fmt: skip

    def run(self) -> None:
        job, settings, rank = self._job, self._job.settings, self._rank
        module = self._module.train()
        state, self._state = self._state, None
        step_of = shared_step(
            self._method, module, self._device, self._world, half=self._half, compile=job.compile
        )  # fmt: skip
        optimiser = Optimiser(self._method, module, settings)
        health = Health(self._world, settings)
        done, history = 0, []
        before: dict[str, float] | None = None  # what the probe found before training
        if state is not None:
            module.load_state_dict(state["module"])
            optimiser.torch.load_state_dict(state["optimizer"])
            done, history = state["step"], state["history"]
            before = state.get("before") or {}
            health.restore(state["health"] if rank == 0 else None)
        log = self._log(len(history)) if rank == 0 else None
        probe = None
        if log and job.probe:
            probe = Probe(
                job.probe, seed=job.split_seed, mean=job.info.mean, std=job.info.std, device=self._device,
                threads=job.threads, say=log.say,
            )  # fmt: skip
            before = probe.before(self._method.exported(module)) if before is None else before
        saved_at = started = time.monotonic()
        waited = 0.0

        batches = self._loader.steps(done, self._steps)
        for step in range(done, self._steps):
            asked = time.monotonic()
            made = next(batches)
            wait = time.monotonic() - asked
            waited += wait
            epoch, inside = divmod(step, self._mixture.steps)
            batch = self._painter.batch(made, epoch)
            progress = TrainingProgress(step, self._steps, epoch, self._epochs)
            lr = optimiser.lead(progress)
            loss, figures = self._gradients(step_of, optimiser, batch, progress)
            norm = optimiser.step()
            self._method.after_step(module, progress)
            health.add(step, loss, norm, figures, made.corrupt)
            if log:
                log.step((step + 1) * settings.batch, loss=loss, lr=lr, batch=settings.batch, waited=wait)

            ends = inside + 1 == self._mixture.steps or step + 1 == self._steps
            due = self._due(step, saved_at)
            if ends or due is not None or (step + 1) % _CHECK_STEPS == 0:
                due = health.agree(self._leaves() or bool(due))  # raises Diverged on every rank; rank 0's clock counts
            if ends:
                line = {
                    "epoch": epoch + 1, **health.means(inside + 1), "lr": lr, "images": (inside + 1) * settings.batch,
                    "wait_seconds": waited, "epoch_seconds": time.monotonic() - started,
                }  # fmt: skip
                if log:
                    line |= before if before and epoch == 0 else {}
                    if probe and probe.due(epoch + 1, self._epochs):  # the other ranks wait where all meet next
                        line |= probe.after(self._method.exported(module), epoch + 1)
                    log.epoch([*history, line])
                history = [*history, line]
                started, waited = time.monotonic(), 0.0
            if due and step + 1 < self._steps:
                kept = health.state()  # all ranks take part
                if rank == 0:
                    optimiser_state = optimiser.torch.state_dict()
                    self.states.save(
                        step + 1,
                        {"module": module.state_dict(), "optimizer": optimiser_state, "step": step + 1,
                         "history": history, "health": kept, "before": before},
                    )  # fmt: skip
                saved_at = time.monotonic()
        if log:
            weights = self._method.exported(module).state_dict()
            health.check_weights(weights)
            try:
                log.corrupt(health.corrupt)
                log.close()
                save_checkpoint(job.out, weights, job.info)
            except WorkError as error:
                raise Unwritten(str(error)) from error

    def _log(self, epochs_done: int) -> Log:
        job = self._job
        config = {**job.settings.model_dump(mode="json"), "backbone": job.info.backbone, "seed": job.seed}
        return Log(
            job.out, epochs_done=epochs_done, gauges=self._gauges,
            trackers=lambda say: Trackers(
                job.trackers, job.out, project=job.study, run=job.name, config=config, say=say
            ),
        )  # fmt: skip

    def _gradients(
        self, step_of: nn.Module, optimiser: Optimiser, batch: Any, progress: TrainingProgress
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Forward and backward, in parts where asked; the means of their losses and figures."""
        count = self._job.settings.accumulate
        optimiser.torch.zero_grad(set_to_none=True)
        self._method.before_step(self._module, progress)
        if self._job.settings.batch_norm == "freeze":
            freeze_norms(self._module.backbone)
        torch.manual_seed(torch_seed(self._job.seed, "step", progress.step, self._rank))  # for dropout and the like
        losses, shown = [], []
        for number, part in enumerate(batch.parts(count) if count > 1 else [batch]):
            hold = self._world > 1 and number + 1 < count  # gradients are averaged over ranks once
            with step_of.no_sync() if hold else torch.enable_grad():  # type: ignore[operator]
                loss, figures = step_of(part, progress)
                (loss / count).backward()
            losses.append(loss.detach())
            shown.append(figures)
        self._method.after_backward(self._module, progress)
        return torch.stack(losses).mean(), {k: torch.stack([f[k] for f in shown]).mean() for k in shown[0]}

    def _due(self, step: int, saved_at: float) -> bool | None:
        """Whether a state is to be kept after this step; None: it is no step at which that is asked."""
        saving = self._job.saving
        if saving.steps:
            return True if (step + 1) % saving.steps == 0 else None
        if (step + 1) % _CHECK_STEPS:
            return None
        return time.monotonic() - saved_at >= saving.minutes * 60

    def _leaves(self) -> bool:
        """Whether a node is about to leave that was not when this was asked before."""
        new = set(self._leaving()) - self._left
        self._left |= new
        return bool(new)

    def _normalise(self, backbone: nn.Module) -> None:
        """What `batch_norm` asks of the backbone before its first step; every rank does the same."""
        policy = self._job.settings.batch_norm
        if policy in ("reset", "reset_affine"):
            reset_norms(backbone, affine=policy == "reset_affine")
        elif policy == "recalibrate":
            views = [
                self._painter.batch(made, 0).views[0]
                for made in self._loader.steps(0, min(_CALIBRATION_BATCHES, self._steps))
            ]
            recalibrate_norms(backbone, [_of_all_ranks(view) for view in views])


def _of_all_ranks(view: torch.Tensor) -> torch.Tensor:
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return view
    view = view.contiguous()
    parts = [torch.empty_like(view) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, view)
    return torch.cat(parts)


def open_rows(job: Job) -> list[TrainingRows]:
    """The sources of a job, opened. Raises RequestError for one that cannot be used."""
    labelled = make_method(job.settings.method, job.settings.options).needs_labels
    return [TrainingRows(source, labelled=labelled, split_seed=job.split_seed) for source in job.sources]


def plan_steps(job: Job, rows: list[TrainingRows]) -> Mixture:
    """What every step draws. Raises RequestError when the sources have fewer rows than a batch."""
    method = make_method(job.settings.method, job.settings.options)
    by_size = [1.0 if method.sources_alike else float(sum(row.rows)) for row in rows]
    weights = [
        size if row.source.weight is None else row.source.weight for row, size in zip(rows, by_size, strict=True)
    ]
    return Mixture([row.rows for row in rows], weights, batch=job.settings.batch, seed=job.seed)


def build_module(method: Method, backbone: nn.Module, sources: list[SourceClasses], seed: int) -> nn.Module:
    """A method's module around a backbone; everything new in it is drawn from the seed.

    Raises RequestError when the method cannot work with the backbone or the sources.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, "head"))
        return method.module(backbone, sources)
