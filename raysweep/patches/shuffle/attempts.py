"""How work ends that kills the process that does it."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.core.generated.common_pb2 import WorkerExitType  # type: ignore[attr-defined]
from ray.core.generated.gcs_pb2 import WorkerTableData  # type: ignore[attr-defined]

from raysweep.storage import Storage

_TRIES = 3
_SHORT_TRIES = 10  # where memory was short: Ray waits longer before each
_TOLD_SECONDS = 5.0  # after a death, until Ray knows how it came


@contextmanager
def attempt(storage: Storage, run: str, work: str, what: str) -> Iterator[str | None]:
    """Count how often a process has died while it did a piece of work, on any node; `what` it reads, in a word.

    Ray Data repeats a task whose worker died for ever, so a slide that kills its reader would never end. Processes that
    Ray has ended because their node was short of memory count by themselves, and more of them are borne: most often
    another process had taken it. Gives None, or the reason why the work is not to be tried again. `storage` is a
    folder that all nodes see.
    """
    tries = f"tries-{run}-{work}"
    dead: dict[str, bool] = storage.read_json(tries) if storage.exists(tries) else {}  # worker -> memory was short
    for worker, known in dead.items():
        dead[worker] = known or _memory_was_short(worker)
    storage.write_bytes(json.dumps({**dead, _this_worker(len(dead)): False}).encode(), tries, durable=False)
    short = sum(dead.values())
    try:
        if len(dead) - short >= _TRIES:
            yield f"the process that read this {what} died {len(dead) - short} times"
        elif short >= _SHORT_TRIES:
            yield (
                f"Ray ended the process that read this {what} {short} times because its node was short of memory; "
                "use nodes with more of it, or let fewer processes work at once (compute.cpus)"
            )
        else:
            yield None
    finally:
        storage.remove(tries)


def _this_worker(number: int) -> str:
    """Ray's name of this process, and the number of the attempt, for a process may survive one."""
    worker = ray.get_runtime_context().get_worker_id() if ray.is_initialized() else ""
    return f"{number}-{worker}"


def _memory_was_short(attempted: str) -> bool:
    """Whether Ray has ended a process because its node was short of memory.

    Ray tells that to the owner of the task alone, who repeats it; another process can see it in Ray's list of
    processes, which has no public name. Of a Ray without that list, every death counts alike.
    """
    worker = bytes.fromhex(attempted.partition("-")[2])
    if not worker or not ray.is_initialized() or attempted.endswith(ray.get_runtime_context().get_worker_id()):
        return False
    until = time.monotonic() + _TOLD_SECONDS
    while time.monotonic() < until:
        try:
            packed = ray._private.state.state._connect_and_get_accessor().get_worker_info(ray.WorkerID(worker))
        except AttributeError:
            return False
        about = None if packed is None else WorkerTableData.FromString(packed)
        if about is not None and not about.is_alive:
            return bool(about.exit_type == WorkerExitType.NODE_OUT_OF_MEMORY)
        time.sleep(0.1)
    return False  # it is alive, or went with its node
