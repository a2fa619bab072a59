"""Node-hours of a run are counted while it has nodes, and told with their price."""

import io
import time
from typing import Any

import pytest
from ray.util import metrics
from rich.console import Console

from raysweep.progress import Progress
from raysweep.study import spend
from raysweep.study.model import Prices
from raysweep.study.spend import counted

_HEAD, _CPU = {"Alive": True, "Resources": {"memory": 1.0}}, {"Alive": True, "Resources": {"CPU": 16.0}}
_GPU = {"Alive": True, "Resources": {"CPU": 16.0, "GPU": 1.0}}


@pytest.fixture
def gauges(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], float]:
    """The last value of each metric, by its name and the kind of node."""
    told: dict[tuple[str, str], float] = {}

    class Gauge:
        def __init__(self, name: str, about: str, tags: tuple[str, ...]) -> None:
            self.name = name

        def set(self, value: float, tags: dict[str, str]) -> None:
            told[self.name, tags["kind"]] = value

    monkeypatch.setattr(metrics, "Gauge", Gauge)
    return told


def _said(prices: Prices | None, work: Any, *, tell: bool = True) -> str:
    out = io.StringIO()
    with counted(Progress(Console(file=out, width=200)), prices, tell=tell):
        work()
    return out.getvalue()


def test_nodes_that_come_and_go_are_counted_while_they_are_there(
    gauges: dict[tuple[str, str], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spend, "_LOOK_SECONDS", 0.02)
    nodes = [_HEAD, _CPU, _CPU, _GPU | {"Alive": False}]
    monkeypatch.setattr(spend.ray, "nodes", lambda: list(nodes))
    monkeypatch.setattr(spend.time, "monotonic", lambda: 3600 * time.perf_counter())  # hours pass like seconds

    def work() -> None:
        time.sleep(0.3)
        nodes[:] = [_HEAD, _GPU]
        time.sleep(0.3)

    said = _said(Prices(cpu=0.5, gpu=2), work)
    hours = {kind: value for (name, kind), value in gauges.items() if name == "raysweep_node_hours"}
    assert hours["head"] >= 0.6
    assert hours["cpu"] + 2 * hours["gpu"] == pytest.approx(2 * hours["head"])  # two of one, then one of the other
    assert 0.6 <= hours["cpu"] <= 2 * hours["head"] - 0.3
    dollars = {kind: value for (name, kind), value in gauges.items() if name == "raysweep_dollars"}
    assert dollars == {"cpu": pytest.approx(0.5 * hours["cpu"]), "gpu": pytest.approx(2 * hours["gpu"])}
    each = ", ".join(f"{kind} {hours[kind]:.2g}" for kind in ("cpu", "gpu", "head"))
    cost = f"; {sum(dollars.values()):.2f} dollars by compute.prices, head apart"
    assert f"nodes while this ran: {sum(hours.values()):.2g} node-hours ({each}){cost}" in " ".join(said.split())


def test_a_cluster_that_does_not_answer_costs_no_run(
    gauges: dict[tuple[str, str], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> list:
        raise RuntimeError("no answer")

    monkeypatch.setattr(spend.ray, "nodes", gone)
    assert _said(Prices(cpu=1, gpu=1), lambda: None) == ""
    assert gauges == {}


@pytest.mark.usefixtures("gauges")
def test_a_run_of_one_machine_says_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spend.ray, "nodes", lambda: [_CPU])
    assert _said(None, lambda: None, tell=False) == ""
    assert "dollars" not in _said(None, lambda: None)
