"""Stages in numbers that a cluster's dashboards show, as Ray metrics: how far each is, and what has failed."""

import sys
import time
from contextlib import suppress
from typing import Any

_EVERY_SECONDS = 1.0  # Ray itself reports every ten
_ABOUT = {
    "done": "units of work of a stage that are done",
    "total": "units of work that a stage has, where known",
    "failed": "units of work of a stage that failed",
}


class StageMetrics:
    """`ray_raysweep_stage_done`, `_total` and `_failed`, tagged with the stage, and the counter
    `ray_raysweep_failures_total` of patch sets, sources and checkpoints that could not be made, tagged with their name.

    Set by the driver where it has a Ray, at most once a second; a metric that cannot be set is left alone.
    """

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._last = 0.0

    def show(self, name: str, done: int, total: int | None, failed: int, *, now: bool = False) -> None:
        """How far a stage is. now: whether or not a second has passed, as when it begins and ends."""
        if not now and time.monotonic() - self._last < _EVERY_SECONDS:
            return
        self._last = time.monotonic()
        if not _has_ray():
            return
        with suppress(Exception):
            for key, value in (("done", done), ("total", total), ("failed", failed)):
                if value is not None:
                    self._metric("Gauge", f"stage_{key}", _ABOUT[key], "stage").set(value, {"stage": name})

    def failed(self, name: str) -> None:
        """Something came to nothing."""
        if _has_ray():
            with suppress(Exception):
                about = "patch sets, sources and checkpoints that could not be made"
                self._metric("Counter", "failures", about, "name").inc(1, {"name": name})

    def _metric(self, kind: str, name: str, about: str, tag: str) -> Any:
        if name not in self._made:
            from ray.util import metrics

            self._made[name] = getattr(metrics, kind)(f"raysweep_{name}", about, (tag,))
        return self._made[name]


def _has_ray() -> bool:
    """Whether this process has a Ray; it is not imported for this."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())
