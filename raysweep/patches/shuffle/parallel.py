"""Many calls of one function as Ray tasks."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from raysweep.errors import WorkError, reason_of


def in_parallel(
    function: Callable[..., Any], calls: Iterable[tuple[Any, ...]], workers: int | None, doing: str
) -> Iterator[Any]:
    """Results of calls as Ray tasks, in the order they come, with a bounded number under way.

    Raises WorkError, naming what was being done, when a call fails or its worker dies more often than Ray repeats it.
    What is under way then, or when no more results are asked for, is cancelled.
    """
    remote = ray.remote(function)
    most = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting: list[ray.ObjectRef] = []
    try:
        for call in calls:
            if len(waiting) >= most:
                done, waiting = ray.wait(waiting)
                yield from ray.get(done)
            waiting.append(remote.remote(*call))
        while waiting:
            done, waiting = ray.wait(waiting)
            yield from ray.get(done)
    except RayTaskError as error:
        raise WorkError(f"{doing} stopped: {reason_of(error.cause or error)}") from error
    except RayError as error:  # Ray's own message goes on for lines
        raise WorkError(f"{doing} stopped: {reason_of(error).partition('. ')[0]}") from error
    finally:
        for task in waiting:
            ray.cancel(task)
