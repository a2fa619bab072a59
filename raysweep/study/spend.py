"""How long a run had the nodes of its Ray, and their price: as Ray metrics while it runs, and in a line at its end."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import ray
from ray.util import metrics

from raysweep.progress import Progress
from raysweep.study.model import Prices

_LOOK_SECONDS = 10.0  # from one look at the nodes to the next, as often as Ray reports its metrics
_LAST_SECONDS = 2.0  # for a look under way at the end: a cluster that is gone does not answer


@contextmanager
def counted(progress: Progress, prices: Prices | None, *, tell: bool) -> Iterator[None]:
    """Count node-hours for the block, in which Ray is up: `ray_raysweep_node_hours`, tagged with the kind of node, and
    `ray_raysweep_dollars` where there are prices for them.

    All nodes of the cluster count, busy or not, also for other runs that use it at the same time; a node that starts or
    goes is seen within 10 seconds. Kinds are `gpu`, `cpu`, and `head` for a head that runs no task, which has no price.
    tell: whether to say at the end what it came to.
    """
    spend = _Spend(prices)
    over = threading.Event()
    thread = threading.Thread(target=spend.count, args=(over,), name="count node-hours", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_LAST_SECONDS)
        if tell and spend.hours:
            progress.say(spend.words())


class _Spend:
    def __init__(self, prices: Prices | None) -> None:
        found = prices.model_dump() if prices else {}
        self._prices = {kind: price for kind, price in found.items() if price is not None}
        self._hours = metrics.Gauge("raysweep_node_hours", "how long nodes were there for the run", ("kind",))
        self._dollars = metrics.Gauge("raysweep_dollars", "what they cost by compute.prices", ("kind",))
        self.hours: dict[str, float] = {}

    def count(self, over: threading.Event) -> None:
        last = time.monotonic()
        alive = _alive()
        while not over.wait(_LOOK_SECONDS):
            now = time.monotonic()
            self._add(alive, now - last)
            last, alive = now, _alive()
        self._add(alive, time.monotonic() - last)

    def _add(self, alive: Counter[str], seconds: float) -> None:
        for kind, n in alive.items():
            self.hours[kind] = self.hours.get(kind, 0.0) + n * seconds / 3600
            with suppress(Exception):  # Ray may have ended
                self._hours.set(self.hours[kind], {"kind": kind})
                if kind in self._prices:
                    self._dollars.set(self.hours[kind] * self._prices[kind], {"kind": kind})

    def words(self) -> str:
        each = ", ".join(f"{kind} {hours:.2g}" for kind, hours in sorted(self.hours.items()))
        said = f"the cluster's nodes while this ran: {sum(self.hours.values()):.2g} node-hours ({each})"
        priced = [kind for kind in self.hours if kind in self._prices]
        if priced:
            dollars = sum(self.hours[kind] * self._prices[kind] for kind in priced)
            without = sorted(set(self.hours) - set(priced))
            said += f"; {dollars:,.2f} dollars by compute.prices" + (f", {' and '.join(without)} apart" * bool(without))
        return said


def _alive() -> Counter[str]:
    """How many nodes of each kind there are; none where the cluster does not answer."""
    found: Counter[str] = Counter()
    with suppress(Exception):
        for node in ray.nodes():
            if node["Alive"]:
                has = node["Resources"]
                found["gpu" if has.get("GPU") else "cpu" if has.get("CPU") else "head"] += 1
    return found
