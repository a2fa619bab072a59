"""How pipelines of Ray Data that write patches are run."""

from collections.abc import Callable, Iterator
from typing import Any

from ray.data import DataContext, Dataset, ExecutionResources
from ray.exceptions import RayError, RayTaskError

from raysweep.errors import WorkError, reason_of
from raysweep.patches.shuffle.data_log import warnings_told

_ADVICE = " Failed to apply "  # begins what Ray Data adds to the message of a task's error


def stream(
    build: Callable[[], Dataset], *, workers: int | None, doing: str, tell: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """The rows of the pipeline that `build` lays out, as they come, with at most `workers` CPUs at once (None: all).

    `tell` shows a line of its own: what Ray Data warns of. The pipeline's functions are generators: of others Ray Data
    does not tell the error. Raises WorkError, which begins with what was being done, when a task fails.
    """
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    if workers is not None:
        context.execution_options.resource_limits = ExecutionResources(cpu=workers)
    try:
        with warnings_told(tell):
            with DataContext.current(context):
                results = build()
            yield from results.iter_rows()
    except RayTaskError as error:  # not the inputs' fault: that was caught in the task
        raise WorkError(f"{doing} stopped: {reason_of(error.cause or error).partition(_ADVICE)[0]}") from error
    except RayError as error:
        raise WorkError(f"{doing} stopped: {reason_of(error)}") from error
