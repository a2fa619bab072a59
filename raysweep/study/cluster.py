"""Connect to Ray: the cluster that is named, else one on this machine."""

import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import raysweep
from raysweep.errors import RequestError, WorkError
from raysweep.progress import Progress
from raysweep.storage import Storage

_QUIET = {  # set before Ray starts; a value that the user set stays
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}
_OBJECT_STORE_BYTES = 512 * 2**20  # of a local Ray: little goes through it


@contextmanager
def cluster(progress: Progress, *, cpus: int | None = None) -> Iterator[None]:
    """Ray, for the block. A cluster is used when RAY_ADDRESS names one or inside a job; else one starts here.

    Raises WorkError when the named cluster cannot be reached.
    """
    if ray.is_initialized():
        yield
        return
    for key, value in _QUIET.items():
        os.environ.setdefault(key, value)
    address = os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    try:
        if address:
            ray.init(address="auto" if address == "auto" else address, **options)
            progress.say(f"Ray cluster {address}: {_size()}")
        else:
            ray.init(num_cpus=cpus, include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES, **options)
            progress.say(f"Ray on this machine: {_size()}")
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"cluster {address}" if address else "a local Ray"
        raise WorkError(f"{where} could not be reached or started: {' '.join(str(error).split())[:200]}") from error
    try:
        yield
    finally:
        ray.shutdown()


def check_nodes(storage: Storage, paths: list[str]) -> None:
    """On a cluster of several nodes: every node must see the storage and the inputs, and run this raysweep.

    Raises RequestError naming the node and what it lacks.
    """
    nodes = [n for n in ray.nodes() if n["Alive"]]
    if len(nodes) < 2:
        return
    name = f"seen-{uuid.uuid4().hex}"
    storage.write_bytes(b"", name)
    try:
        probe = ray.remote(num_cpus=0, max_retries=0)(_look)
        asked = {
            n["NodeManagerHostname"]: probe.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(n["NodeID"], soft=False)
            ).remote(storage, name, paths, raysweep.__version__)
            for n in nodes
        }
        for host, answer in asked.items():
            try:
                problem = ray.get(answer, timeout=60)
            except Exception as error:
                raise RequestError(
                    f"node {host}: cannot run raysweep ({' '.join(str(error).split())[:150]})"
                ) from error
            if problem:
                raise RequestError(f"node {host}: {problem}")
    finally:
        storage.remove(name)


def _look(storage: Storage, name: str, paths: list[str], version: str) -> str | None:
    if not storage.exists(name):
        return f"does not see the storage {storage.root}; use a folder or bucket that all nodes share"
    for path in paths:
        if "://" not in path and not Path(path).exists():
            return f"does not see {path}; use a folder that all nodes share"
    if raysweep.__version__ != version:
        return f"runs raysweep {raysweep.__version__}, not {version}; install the same version on every node"
    return None


def _size() -> str:
    found = ray.cluster_resources()
    gpus = int(found.get("GPU", 0))
    nodes = len([n for n in ray.nodes() if n["Alive"]])
    return f"{nodes} node{'s' * (nodes > 1)}, {int(found.get('CPU', 0))} CPUs" + (f", {gpus} GPUs" if gpus else "")
