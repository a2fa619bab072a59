"""Connect to Ray: the cluster that is named, else one on this machine."""

import hashlib
import logging
import os
import secrets
import sys
import sysconfig
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
from ray.job_config import JobConfig
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import raysweep
from raysweep.addresses import is_address
from raysweep.errors import RequestError, WorkError
from raysweep.progress import Progress
from raysweep.stopping import heed_ctrl_c, not_now
from raysweep.storage import Storage
from raysweep.study.head import Head, find_head, watched
from raysweep.study.model import Prices
from raysweep.study.ray_folder import ray_folder
from raysweep.study.spend import counted

_QUIET = {  # set before Ray starts; a value that the user set stays
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}
_LOOKED_AT = 100  # folders: looking must end within a minute on a slow file system
_NODES_SECONDS = 15 * 60.0  # for nodes that were asked for to start and install
_STDLIB = sysconfig.get_path("stdlib")
_MOST_TIMES = 32  # CPUs that a Ray may be told for each there is
_OBJECT_STORE_BYTES = 512 * 2**20  # of a local Ray: little goes through it


@contextmanager
def cluster(progress: Progress, *, cpus: int | None = None, prices: Prices | None = None) -> Iterator[None]:
    """Ray, for the block. A cluster is used when RAY_ADDRESS names one or inside a job; else one starts here.

    How long its nodes were there is counted, and told at the end where it is a cluster or has `prices`.

    Raises WorkError when the named cluster cannot be reached, RequestError for many more CPUs than a machine has.
    """
    if ray.is_initialized():
        yield
        return
    for key, value in _QUIET.items():
        os.environ.setdefault(key, value)
    address = named_cluster()
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    heed_ctrl_c()
    if address:
        head = find_head(address)
        with (
            _connected(head, progress, Path.cwd(), address=head.address, **options),
            watched(head),
            counted(progress, prices, tell=True),
        ):
            yield
        return
    if cpus and cpus > _MOST_TIMES * (os.cpu_count() or 1):  # a worker would be started for each
        raise RequestError(f"compute.cpus: {cpus} were asked for, and this machine has {os.cpu_count()}; ask for fewer")
    _have_token()
    with (
        ray_folder(progress) as folder,
        _connected(
            None,
            progress,
            folder,
            address="local",  # without it, any Ray that was started on this machine would be joined
            num_cpus=cpus or _allowed_cpus(),
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            **options,
        ),
        counted(progress, prices, tell=prices is not None),
    ):
        yield


def named_cluster() -> str | None:
    """The address of the cluster that RAY_ADDRESS names; None: a Ray of this machine."""
    address = os.environ.get("RAY_ADDRESS", "").strip()
    return None if address in ("", "local") else address


@contextmanager
def _connected(head: Head | None, progress: Progress, folder: Path, **options: Any) -> Iterator[None]:
    """folder: what a Ray that starts here works in, and its workers: one that stays there as long as they do."""
    try:
        with not_now(), chdir(folder):
            ray.init(job_config=_OwnImports(), **options)
        progress.say(f"Ray {'cluster ' + head.address if head else 'on this machine'}: {_size()}")
    except Exception as error:  # Ray's own, and bare ones, as when its processes do not start within half a minute
        where = f"cluster {head.address}" if head else "a local Ray"
        reason = " ".join(str(error).split())[:200] + (head.advice if head else "")
        raise WorkError(f"{where} could not be reached or started: {reason}") from error
    except KeyboardInterrupt:
        ray.shutdown()
        raise
    try:
        yield
    finally:
        ray.shutdown()


def _have_token() -> None:
    """Ray lets in who has its token, and keeps that in the user's home; where it cannot, let it be this process's own.

    (A home that is read-only, full or another user's, as in containers.) Workers inherit it.
    """
    named = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if named or os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return
    kept = Path(os.path.expanduser("~/.ray/auth_token"))
    with suppress(OSError):
        if os.access(kept, os.R_OK) and kept.stat().st_size:
            return
        kept.parent.mkdir(parents=True, exist_ok=True)
        if os.access(kept if kept.exists() else kept.parent, os.W_OK):
            return
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _allowed_cpus() -> int | None:
    """How many CPUs a scheduler has left to this process, of a machine that others use; None: Ray counts them."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    allowed = len(os.sched_getaffinity(0))
    return allowed if allowed < (os.cpu_count() or 0) else None


def ask_for(cpus: int | None, gpus: int | None, progress: Progress) -> Callable[[], None]:
    """Wait until the cluster has so many CPUs and GPUs, asking its autoscaler for them; None: at least one CPU.

    Returns what gives them back: nodes that were asked for stay until then. Raises WorkError when they have not
    come after 15 minutes.
    """
    wanted = {"CPU": cpus or 1, "GPU": gpus or 0}
    if all(ray.cluster_resources().get(kind, 0) >= n for kind, n in wanted.items()):
        return lambda: None
    if not named_cluster():
        raise RequestError(f"compute.gpus: {gpus} were asked for, but this machine's Ray has {_size()}; leave it out")
    from ray.autoscaler.sdk import request_resources

    progress.say(f"waiting for nodes: {wanted['CPU']} CPUs, {wanted['GPU']} GPUs")
    request_resources(bundles=[{"GPU": 1}] * wanted["GPU"] + [{"CPU": 1}] * wanted["CPU"])
    until = time.monotonic() + _NODES_SECONDS
    while any(ray.cluster_resources().get(kind, 0) < n for kind, n in wanted.items()):
        if time.monotonic() > until:
            request_resources(bundles=[])
            raise WorkError(
                f"the cluster did not come to {wanted['CPU']} CPUs and {wanted['GPU']} GPUs within "
                f"{_NODES_SECONDS / 60:.0f} minutes ({_size()}); ask for less with compute.cpus and compute.gpus, or "
                "look at `ray status` on its head"
            )
        time.sleep(2)
    progress.say(f"Ray cluster now: {_size()}")
    return lambda: request_resources(bundles=[])


class _OwnImports(JobConfig):
    """A job whose workers import what this process imports.

    Ray puts this process's working directory before everything else in its workers, where a script that a user has
    called openslide.py or torch.py would be taken for the package. It stays where it comes first here as well, as with
    `python -m`.
    """

    def _get_proto_job_config(self) -> Any:
        first = sys.path[: sys.path.index(_STDLIB)] if _STDLIB in sys.path else sys.path
        here = {os.path.abspath(path) for path in first}
        self._py_driver_sys_path = [path for path in self._py_driver_sys_path if path in here]
        return super()._get_proto_job_config()


def check_nodes(storage: Storage, paths: list[str]) -> None:
    """On a cluster of several nodes: every node must see the storage and the inputs that this one sees, and run this
    raysweep. Of many folders some are looked at.

    Raises RequestError naming the node and what it lacks.
    """
    nodes = [n for n in ray.nodes() if n["Alive"]]
    if len(nodes) < 2:
        return
    paths = [
        path for path in _some_of(paths) if is_address(path) or Path(path).exists()
    ]  # others are told slide by slide
    name = f"seen-{uuid.uuid4().hex}"
    storage.write_bytes(b"", name)
    try:
        probe = ray.remote(num_cpus=0, max_retries=0)(_look)
        asked = [
            (
                n["NodeManagerHostname"],  # several nodes may have the same
                probe.options(scheduling_strategy=NodeAffinitySchedulingStrategy(n["NodeID"], soft=False)).remote(
                    storage, name, paths, _source()
                ),
            )
            for n in nodes
        ]
        for host, answer in asked:
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


def _some_of(paths: list[str]) -> list[str]:
    """Up to 100 of many, spread evenly over them."""
    step = max(1, -(-len(paths) // _LOOKED_AT))
    return paths[::step]


def _look(storage: Storage, name: str, paths: list[str], source: str) -> str | None:
    if not storage.exists(name):
        return f"does not see the storage {storage.root}; use a folder or bucket that all nodes share"
    for path in paths:
        if not is_address(path) and not Path(path).exists():
            return f"does not see {path}; use a folder that all nodes share"
    if _source() != source:
        return f"has another raysweep ({raysweep.__version__}) than this one; install the same on every node"
    return None


def _source() -> str:
    """A hash of the package's own code: the version alone does not tell two checkouts apart."""
    package = Path(raysweep.__file__).parent
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _size() -> str:
    found = ray.cluster_resources()
    gpus = int(found.get("GPU", 0))
    nodes = len([n for n in ray.nodes() if n["Alive"]])
    return f"{nodes} node{'s' * (nodes > 1)}, {int(found.get('CPU', 0))} CPUs" + (f", {gpus} GPUs" if gpus else "")
