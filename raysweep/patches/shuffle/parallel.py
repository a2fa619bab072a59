"""Many calls of one function as Ray tasks."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from raysweep.errors import WorkError, reason_of

_LOOK_SECONDS = 1.0  # between two looks at how large the cluster is
_QUEUED = 4  # calls that wait for a CPU, at least
_PROCESS_BYTES, _TIMES = 250 * 10**6, 3  # a worker without data, and what it takes of those: both passes of the shuffle


def in_parallel(
    function: Callable[..., Any],
    calls: Iterable[tuple[Any, ...]],
    workers: int | None,
    doing: str,
    *,
    data_bytes: int = 0,
) -> Iterator[Any]:
    """Results of calls as Ray tasks, in the order they come.

    At most `workers` are under way. None: one on every CPU of the cluster, which may grow meanwhile, and as many that
    wait for one, from which an autoscaler sees that more nodes would be used; so `calls` is never far ahead of the
    results. Ray has no start-up to pay here, as a pipeline of Ray Data has.

    data_bytes: of the patches that a call holds at once; memory for them is asked of Ray beside a CPU.

    Raises WorkError, naming what was being done, when a call fails or its worker dies more often than Ray repeats it.
    What is under way then, or when no more results are asked for, is cancelled.
    """
    remote = ray.remote(function).options(memory=node_memory(_PROCESS_BYTES + _TIMES * data_bytes) or None)
    left = iter(calls)
    waiting: list[ray.ObjectRef] = []
    more = True
    try:
        while more or waiting:
            room = _width(workers) - len(waiting)
            while more and room > 0:
                call = next(left, None)
                more = call is not None
                if call is not None:
                    waiting.append(remote.remote(*call))
                    room -= 1
            if waiting:
                ray.wait(waiting, timeout=_LOOK_SECONDS)
                done, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=0)
                yield from ray.get(done)
    except RayTaskError as error:
        raise WorkError(f"{doing} stopped: {reason_of(error.cause or error)}") from error
    except RayError as error:  # Ray's own message goes on for lines
        raise WorkError(f"{doing} stopped: {reason_of(error).partition('. ')[0]}") from error
    finally:
        for task in waiting:
            ray.cancel(task)


def node_memory(wanted_bytes: float) -> int:
    """Bytes that a task asks Ray for which takes `wanted_bytes`: no more than some node has, or it would never begin.

    0 where no node is alive that has any, as on a cluster whose first node is still to come. Ray must be running.
    """
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return int(min(wanted_bytes, max((resources.get("memory", 0) for resources in alive), default=0)))


def _width(workers: int | None) -> int:
    """How many calls may be under way now."""
    if workers is not None:
        return workers
    cpus = int(ray.cluster_resources().get("CPU", 0))
    return cpus + max(_QUEUED, cpus)
