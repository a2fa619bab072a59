"""A search in numbers that a cluster's dashboards show."""

from ray.util.metrics import Counter, Gauge

from raysweep.sweep.lane import Lane
from raysweep.sweep.objective import gain


class Gauges:
    """Ray metrics of a search, tagged with the cell: `ray_raysweep_tune_trials` (also with how they ended: done,
    pruned or failed) and `ray_raysweep_tune_best` (on val, over the repeats of this run).

    Made by the driver, once Ray is there.
    """

    def __init__(self) -> None:
        self._trials = Counter("raysweep_tune_trials", "trials that came to an end in this run", ("cell", "status"))
        self._best = Gauge("raysweep_tune_best", "best value on val by now", ("cell",))
        self._gains: dict[str, float] = {}  # by cell

    def told(self, lane: Lane, status: str) -> None:
        """A trial of this lane came to an end."""
        cell, best = lane.cell.name, lane.best()
        self._trials.inc(1, {"cell": cell, "status": status})
        if best is None or best.value is None:
            return
        reached = gain(best.value, lane.select)
        if reached > self._gains.get(cell, float("-inf")):
            self._gains[cell] = reached
            self._best.set(best.value, {"cell": cell})
