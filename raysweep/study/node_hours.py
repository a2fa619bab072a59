"""How long nodes of a cluster are kept for each stage of a study, and what they cost."""

import math
from dataclasses import dataclass

from raysweep.backbones.machine import machine
from raysweep.study.costs import Costs
from raysweep.study.forecast import search_clock
from raysweep.study.model import Compute

_PIXEL = 3e-8  # seconds of a core of 2023 for a pixel of a patch: read, resized and encoded


@dataclass(frozen=True)
class StageHours:
    """A stage keeps so many nodes of a kind for so many hours, on the clock."""

    stage: str
    kind: str  # cpu or gpu
    nodes: int
    hours: float

    @property
    def node_hours(self) -> float:
        return self.nodes * self.hours


def stage_hours(costs: Costs, pixels: float) -> list[StageHours]:
    """Of the stages that have something to do, on the nodes that `compute` asks for; else on one like this machine.

    costs: finished. pixels: of the patches that are still to be tiled. All nodes of a stage are kept until its last
    piece of work has ended, busy or not; what they take to start, and to go when they are idle, is left out.
    """
    compute = costs.compute
    cpus = compute.cpus or machine()["cpus"]
    n_cpu, n_gpu = _nodes(compute.cpus, compute.node_cpus), _nodes(compute.gpus, compute.node_gpus)
    trains = ("gpu", n_gpu) if compute.gpus else ("cpu", n_cpu)
    most = compute.gpus or machine()["gpus"] * (compute.cpus is None) or max(1.0, cpus / compute.threads)
    at_once = min(compute.trials_at_once or most, most)
    tuned = costs.features / at_once + search_clock(costs.chains, at_once)
    found = [
        StageHours("tile", "cpu", n_cpu, pixels * _PIXEL / (compute.tile_workers or cpus) / 3600),
        StageHours("pretrain", *trains, costs.pretrain / min(compute.workers, most) / 3600),
        StageHours("tune", *trains, tuned / 3600),
    ]
    return [stage for stage in found if stage.hours]


def node_notes(costs: Costs, pixels: float) -> list[str]:
    """The same in words, and in dollars where the study has prices."""
    compute = costs.compute
    found = stage_hours(costs, pixels)
    if not found or not (compute.cpus or compute.gpus or compute.prices):
        return []
    each = ", ".join(f"{s.stage} {s.node_hours:.2g} ({s.nodes} {s.kind} node{'s' * (s.nodes > 1)})" for s in found)
    notes = [f"about {sum(s.node_hours for s in found):.2g} node-hours: {each}; starting and idle nodes apart"]
    if compute.gpus and not machine()["gpus"]:
        notes[0] += "; of GPU nodes at most, since times are of this machine, which has none"
    return notes + _dollars(found, compute)


def _dollars(found: list[StageHours], compute: Compute) -> list[str]:
    if compute.prices is None:
        return []
    prices = {kind: price for kind, price in compute.prices.model_dump().items() if price is not None}
    lacking = sorted({stage.kind for stage in found} - set(prices))
    if lacking:
        return [f"no dollars: compute.prices says nothing of {' and '.join(lacking)} nodes"]
    spent = {stage.stage: stage.node_hours * prices[stage.kind] for stage in found}
    each = ", ".join(f"{stage} {_rounded(dollars)}" for stage, dollars in spent.items())
    return [f"about {_rounded(sum(spent.values()))} dollars by compute.prices: {each}"]


def _nodes(wanted: int | None, of_a_node: int) -> int:
    return math.ceil(wanted / of_a_node) if wanted else 1


def _rounded(dollars: float) -> str:
    return f"{dollars:,.0f}" if dollars >= 10 else f"{dollars:.2f}"
