"""What pipelines of Ray Data that write patches have in common: how they are run, and how work ends that kills."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ray.data import DataContext, Dataset, ExecutionResources
from ray.exceptions import RayError, RayTaskError

from raysweep.errors import WorkError, reason_of
from raysweep.storage import Storage

_TRIES = 3
_ADVICE = " Failed to apply "  # begins what Ray Data adds to the message of a task's error


def stream(build: Callable[[], Dataset], *, workers: int | None, doing: str) -> Iterator[dict[str, Any]]:
    """The rows of the pipeline that `build` lays out, as they come, with at most `workers` CPUs at once (None: all).

    Its functions are generators: of others Ray Data does not tell the error. Raises WorkError, which begins with what
    was being done, when a task fails.
    """
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    if workers is not None:
        context.execution_options.resource_limits = ExecutionResources(cpu=workers)
    log = logging.getLogger("ray.data")
    level = log.level
    log.setLevel(logging.CRITICAL)  # what goes wrong is raised and told below
    try:
        with DataContext.current(context):
            results = build()
        yield from results.iter_rows()
    except RayTaskError as error:  # not the inputs' fault: that was caught in the task
        raise WorkError(f"{doing} stopped: {reason_of(error.cause or error).partition(_ADVICE)[0]}") from error
    except RayError as error:
        raise WorkError(f"{doing} stopped: {reason_of(error)}") from error
    finally:
        log.setLevel(level)


@contextmanager
def attempt(storage: Storage, run: str, work: str, what: str) -> Iterator[str | None]:
    """Count how often a process has died while it did a piece of work, on any node; `what` it reads, in a word.

    Ray Data repeats a task whose worker died for ever, so a slide that kills its reader would never end. Gives None, or
    the reason why it is not to be tried again. `storage` is a folder that all nodes see.
    """
    tries = f"tries-{run}-{work}"
    died = storage.read_json(tries) if storage.exists(tries) else 0
    storage.write_bytes(str(died + 1).encode(), tries, durable=False)
    try:
        yield f"the process that read this {what} died {died} times" if died >= _TRIES else None
    finally:
        storage.remove(tries)
