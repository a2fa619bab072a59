"""Whether Ray has what a training needs, and waiting for nodes of a cluster that are still to come."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Thread

import ray

from raysweep.errors import RequestError, WorkError

_WAIT_SECONDS = 15 * 60.0
_LOOK_SECONDS = 1.0


class NodesMissing(WorkError):
    """They were waited for, and did not come."""


def own_ray() -> bool:
    """Whether this is a Ray that started for this process alone, on this machine."""
    return os.environ.get("RAY_ADDRESS", "").strip() in ("", "local")


@dataclass(frozen=True)
class Room:
    """What the fewest workers that may train need: `threads` CPUs each, and with `gpu` one GPU each."""

    workers: int
    threads: int
    gpu: bool

    def fits(self) -> bool:
        """Whether Ray has it now, free or not."""
        found = ray.cluster_resources()
        enough = found.get("CPU", 0) >= self.workers * self.threads
        return enough and (not self.gpu or found.get("GPU", 0) >= self.workers)

    def wait(self, say: Callable[[str], None], *, until: Callable[[], bool] = lambda: False) -> None:
        """On a cluster, wait for nodes that are still to come or to be replaced, and say so.

        until: ends the wait too. Raises NodesMissing after 15 minutes; on one machine, where none comes, RequestError.
        """
        if self.fits():
            return
        if own_ray():
            raise RequestError(
                f"compute.workers: {self.workers} workers of {self.threads} CPUs each do not fit the "
                f"{_has(gpu=False)} that Ray has; lower compute.workers or compute.threads"
            )
        minutes = f"{_WAIT_SECONDS / 60:.0f} minutes"
        wanted = f"{self.workers * self.threads} CPUs" + (f" and {self.workers} GPUs" if self.gpu else "")
        say(f"waiting up to {minutes} for {wanted}; Ray has {_has(self.gpu)} now")
        end = time.monotonic() + _WAIT_SECONDS
        while not (self.fits() or until()):
            if time.monotonic() >= end:
                raise NodesMissing(
                    f"compute.workers: {self.workers} workers need {wanted}, and after {minutes} the cluster has "
                    f"{_has(self.gpu)}; run again when its nodes are there, or lower compute.workers or "
                    "compute.least_workers"
                )
            time.sleep(_LOOK_SECONDS)

    def watch(self, run: Callable[[], None], say: Callable[[str], None]) -> None:
        """Call `run`, and wait as above whenever nodes go that it needs: it is to wait for them itself.

        (Elastic training does, without a word and without end.) Raises what `run` raises; or NodesMissing, and
        `run` still waits then.
        """
        raised: list[BaseException] = []

        def noted() -> None:
            try:
                run()
            except BaseException as error:
                raised.append(error)

        running = Thread(target=noted, daemon=True)  # if it waits for ever, the program ends nevertheless
        running.start()
        while running.is_alive():
            running.join(_LOOK_SECONDS)
            if running.is_alive():
                self.wait(say, until=lambda: not running.is_alive())
        if raised:
            raise raised[0]


def _has(gpu: bool) -> str:
    found = ray.cluster_resources()
    return f"{found.get('CPU', 0):g}" + (f" and {found.get('GPU', 0):g}" if gpu else "")
