"""The loop under Ray Train: workers and process groups, and what happens when some of them die."""

import json
import logging
import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Literal

import ray
import ray.train
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device

from raysweep.errors import RequestError, WorkError, reason_of
from raysweep.pretrain.gauges import Gauges
from raysweep.pretrain.health import Diverged
from raysweep.pretrain.loop import Job, Unwritten, train
from raysweep.pretrain.room import NodesMissing, Room, own_ray
from raysweep.pretrain.states import States
from raysweep.pretrain.team import Team

_RESTARTS = 3  # of the workers since the last state that was kept
_FAILED = ("resume", "failed.json")
_DEFAULTS = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # how soon an end or a death is seen; Ray's own is 2 s
    # How long workers are waited for that were to run on a node which has just died; Ray's own is 60 s. It looks at
    # the nodes every 20 s, and four tries must outlast the half minute in which a machine without power is missed.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "15",
}


def fit(job: Job, team: Team, *, say: Callable[[str], None]) -> None:
    """Run the loop on Ray Train workers, from the last state that was kept. Workers that die are started again.

    Raises RequestError when Ray has too few CPUs or the batch cannot be shared; WorkError when the loop cannot go on,
    or when workers have died several times since the last state.
    """
    gpu = ray.cluster_resources().get("GPU", 0) >= 1
    workers = min(team.workers, int(ray.cluster_resources()["GPU"])) if gpu else team.workers
    least = min(team.least or workers, workers)
    _check_batch(job, range(least, workers + 1))
    room = Room(least, team.threads, gpu)
    room.wait(say)
    loader = loader_of(team, workers, gpu)
    for key, value in _DEFAULTS.items():
        os.environ.setdefault(key, value)
    if len(ray.nodes()) == 1:  # on one machine there is nothing to watch for: one process less
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    if job.out.exists(*_FAILED):
        job.out.remove(*_FAILED)
    while True:
        before = _kept(job)
        try:
            trainer = _trainer(job, workers, least, team.threads, gpu, loader)
            if least == workers:
                _run(trainer)
            else:
                _run_elastic(trainer, job, room, say)
        except ray.train.TrainingFailedError as error:
            _raise_failed(job)
            cause = _cause(error)
            whole = room.fits()  # else a node is gone, and may be replaced
            # deaths are counted since the last progress; an error of ours would only come again
            if isinstance(cause, RequestError | WorkError) or (whole and _kept(job) == before):
                raise WorkError(f"pretraining failed: {reason_of(cause)}") from error
            if whole:
                say(f"workers died again ({reason_of(cause)}); going on from step {_kept(job)}")
            room.wait(say)
            continue
        _raise_failed(job)
        return


def loader_of(team: Team, workers: int, gpu: bool) -> Literal["worker", "data"]:
    """Who prepares batches. Raises RequestError when Ray Data has no CPUs to do it with.

    Auto is Ray Data where training runs on GPUs and nodes without any stand beside them. On one machine it is threads
    of the worker: nothing is copied between processes.
    """
    if team.loader == "worker":
        return "worker"
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    helpers = [node for node in nodes if node.get("CPU", 0) >= 1 and not node.get("GPU")]
    if team.loader == "auto" and not (gpu and helpers):
        return "worker"
    free = ray.cluster_resources().get("CPU", 0) - workers * team.threads
    if free < 2 * workers:  # it would wait for ever, without a word
        raise RequestError(
            f"compute.loader: data needs two free CPUs for each worker, but of Ray's CPUs {free:g} are left beside "
            f"{workers} workers of {team.threads}; lower compute.workers or compute.threads, or set it to worker"
        )
    return "data"


def _check_batch(job: Job, worlds: range) -> None:
    parts = job.settings.accumulate
    for world in worlds:
        if job.settings.batch % (world * parts):
            in_parts = f" in {parts} parts each" if parts > 1 else ""
            raise RequestError(
                f"batch: {job.settings.batch} patches cannot be shared by {world} workers{in_parts}; choose a multiple"
            )


class _Trainer(TorchTrainer):
    """Ray's; in a Ray of our own without the helper that would ask a dashboard whether the controller still lives.

    There is no dashboard. The question hangs, and every training ends 12 s later for it; or another Ray of the machine
    is asked instead, which knows nothing of this training, and the helper takes its workers away.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks: list[Any] = super()._create_default_callbacks()  # type: ignore[misc]  # mypy sees Train v1's
        return [one for one in callbacks if not (own_ray() and type(one).__name__ == "PlacementGroupCleanerCallback")]


def _run(trainer: TorchTrainer) -> None:
    _raise_told(trainer.fit().return_value)  # type: ignore[attr-defined]  # mypy sees Train v1's


def _run_elastic(trainer: TorchTrainer, job: Job, room: Room, say: Callable[[str], None]) -> None:
    try:
        room.watch(partial(_run, trainer), say)
    except NodesMissing as error:  # workers that start when nodes are there after all are to end at once
        job.out.write_json(_told(error), *_FAILED)
        raise


def _trainer(job: Job, workers: int, least: int, threads: int, gpu: bool, loader: str) -> TorchTrainer:
    return _Trainer(
        _work,  # type: ignore[arg-type]  # mypy sees Train v1's, whose loops return nothing
        train_loop_config={"job": job, "loader": loader},
        scaling_config=ScalingConfig(
            num_workers=workers if least == workers else (least, workers),  # type: ignore[arg-type]
            use_gpu=gpu,
            resources_per_worker={"CPU": threads, **({"GPU": 1} if gpu else {})},
        ),
        run_config=RunConfig(
            # states are ours, so Ray has nothing to go on from: every run of it is a new one
            name=f"train-{uuid.uuid4().hex[:8]}",
            storage_path=job.out.path("resume"),
            storage_filesystem=job.out.fs,
            failure_config=FailureConfig(  # mypy sees Train v1's
                max_failures=_RESTARTS,
                controller_failure_limit=_RESTARTS,  # type: ignore[call-arg]
            ),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
    )


def _work(config: dict[str, Any]) -> dict[str, str] | None:
    """What every rank runs. An error of ours is written down: the next start of the workers would only repeat it.

    Returns it where no other rank waits for this one; else it is raised, to end the others.
    """
    job: Job = config["job"]
    if job.out.exists(*_FAILED):
        return None
    context = ray.train.get_context()
    loader = None
    if config["loader"] == "data":
        from raysweep.pretrain.data_path import DataLoader

        loader = DataLoader.of(job)
    rank = context.get_world_rank()
    gauges = Gauges(job.name) if rank == 0 else None
    try:
        train(
            job, rank=rank, world=context.get_world_size(), device=get_device(), loader=loader, gauges=gauges,
            leaving=_leaving,
        )  # fmt: skip
    except (RequestError, WorkError) as error:
        if isinstance(error, Diverged | Unwritten):
            return _told(error)
        with suppress(WorkError):  # on a full disk the error itself has to tell
            job.out.write_json(_told(error), *_FAILED)
        raise
    return None


def _leaving() -> list[str]:
    """The nodes of this team that are about to be taken away, as a cloud says of spot nodes minutes before."""
    info = ray.train.get_preemption_info()
    return info.preempted_node_ids if info else []


def _told(error: RequestError | WorkError) -> dict[str, str]:
    return {"kind": "request" if isinstance(error, RequestError) else "work", "reason": reason_of(error)}


def _raise_failed(job: Job) -> None:
    if job.out.exists(*_FAILED):
        _raise_told(json.loads(job.out.read_bytes(*_FAILED)))


def _raise_told(told: dict[str, str] | None) -> None:
    if told:
        raise (RequestError if told["kind"] == "request" else WorkError)(told["reason"])


def _kept(job: Job) -> int:
    """The step of the newest state."""
    return States.newest(job.out.at("resume", "states"))


def _cause(error: Exception) -> BaseException:
    """The error that a worker died of; the other ranks only tell that it was gone."""
    failures = list(getattr(error, "worker_failures", {}).values()) or [getattr(error, "controller_failure", error)]
    causes = [getattr(failure, "_base_exc", failure) for failure in failures]
    return next((cause for cause in causes if isinstance(cause, RequestError | WorkError)), causes[0])
