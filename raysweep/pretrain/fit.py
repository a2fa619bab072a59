"""The loop under Ray Train: workers, process groups, and the state of each epoch kept for a resume."""

import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device

from raysweep.errors import RequestError, WorkError, reason_of
from raysweep.pretrain.loop import Job, train

_STATE = "state.pt"
_RESTARTS = 3  # of the workers, when one of them dies


def fit(job: Job, *, name: str, workers: int) -> None:
    """Run the loop on Ray Train workers; a run of the same name in the same folder goes on where it was.

    Args:
        job: what to train.
        name: the run's.
        workers: ranks; where Ray has GPUs, at most one for each of them.

    Raises RequestError when Ray has too few CPUs or the batch cannot be shared, WorkError when workers keep failing.
    """
    resources = ray.cluster_resources()
    gpu = resources.get("GPU", 0) >= 1
    if gpu:
        workers = min(workers, int(resources["GPU"]))
    if job.settings.batch % workers:
        raise RequestError(
            f"batch: {job.settings.batch} patches cannot be shared by {workers} workers; choose a multiple"
        )
    cpus = resources.get("CPU", 0)
    if workers * job.threads > cpus:
        raise RequestError(
            f"compute.workers: {workers} workers of {job.threads} CPUs each do not fit the {cpus:g} that Ray has;"
            " lower compute.workers or compute.threads"
        )
    if len(ray.nodes()) == 1:  # on one machine there is nothing to watch for: one process less
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    trainer = TorchTrainer(
        _work,
        train_loop_config={"job": job},
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=gpu,
            resources_per_worker={"CPU": job.threads, **({"GPU": 1} if gpu else {})},
        ),
        run_config=RunConfig(
            name=name,
            storage_path=job.out.path("resume"),
            storage_filesystem=job.out.fs,
            failure_config=FailureConfig(  # mypy sees Train v1's
                max_failures=_RESTARTS,
                controller_failure_limit=_RESTARTS,  # type: ignore[call-arg]
            ),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
    )
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise WorkError(f"pretraining failed: {_cause(error)}") from error


def _work(config: dict[str, Any]) -> None:
    context = ray.train.get_context()
    train(
        config["job"], _TrainKeeper(), rank=context.get_world_rank(), world=context.get_world_size(),
        device=get_device(),
    )  # fmt: skip


class _TrainKeeper:
    """Keeps states as Ray Train checkpoints."""

    def last(self) -> dict[str, Any] | None:
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return None
        with checkpoint.as_directory() as folder:
            return torch.load(Path(folder, _STATE), map_location="cpu", weights_only=True)

    def keep(self, state: dict[str, Any] | None, metrics: dict[str, float]) -> None:
        if state is None:
            ray.train.report(metrics)
            return
        with tempfile.TemporaryDirectory() as folder:
            torch.save(state, Path(folder, _STATE))
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


def _cause(error: Exception) -> str:
    """The error that a worker died of, in one line; the other ranks only tell that it was gone."""
    failures = list(getattr(error, "worker_failures", {}).values()) or [error]
    causes = [getattr(failure, "_base_exc", failure) for failure in failures]
    return reason_of(next((cause for cause in causes if isinstance(cause, RequestError | WorkError)), causes[0]))
