"""The dashboard asks for what is exported, and for all of it."""

import json
import re
from typing import Any

import pytest
from ray.util import metrics
from typer.testing import CliRunner

from raysweep import stage_metrics
from raysweep.cli import app
from raysweep.places.grafana import PANELS
from raysweep.pretrain import gauges as pretrain
from raysweep.progress import Progress
from raysweep.slides import meter
from raysweep.study.spend import counted
from raysweep.sweep import gauges as sweep

_OF_PROMETHEUS = {"sum", "max", "by", "rate", "deriv"}


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Names under which Ray exports what raysweep measures, with their tags: `test_ray_exports_them` has the rule."""
    found: dict[str, set[str]] = {}

    def kind(suffix: str) -> Any:
        def make(name: str, about: str, tags: tuple[str, ...]) -> Any:
            found[f"ray_{name}{suffix}"] = set(tags)
            return type("Metric", (), {"set": lambda *_: None, "inc": lambda *_: None})()

        return make

    for module in (meter, pretrain, sweep, metrics):
        monkeypatch.setattr(module, "Gauge", kind(""))
        if hasattr(module, "Counter"):
            monkeypatch.setattr(module, "Counter", kind("_total"))
    monkeypatch.setattr(stage_metrics, "_has_ray", lambda: True)
    meter.Meter("tissue", 3)
    pretrain.Gauges("toy")
    sweep.Gauges()
    progress = Progress(quiet=True)
    progress.failed("checkpoint x", "")
    with progress.stage("tile", 3, "slides"):
        pass
    with counted(progress, None, tell=False):
        pass
    return found


def test_every_query_names_what_is_exported_and_nothing_is_left_out(exported: dict[str, set[str]]) -> None:
    asked: set[str] = set()
    for panel in PANELS:
        for query, legend in panel.queries:
            names = set(re.findall(r"\bray_\w+", query))
            assert names
            assert names <= set(exported), query
            asked |= names
            tags = set.union(*(exported[name] for name in names))
            plain = re.sub(r'"[^"]*"|\[\w+\]|\bray_\w+', "", query)
            assert set(re.findall(r"[a-z_]+", plain)) <= tags | _OF_PROMETHEUS, query
            assert set(re.findall(r"{{(\w+)}}", legend)) <= tags
            assert query.count("(") == query.count(")")
    assert asked == set(exported)


def test_the_command_writes_what_grafana_reads() -> None:
    answer = CliRunner().invoke(app, ["cluster", "grafana"])
    assert answer.exit_code == 0
    board = json.loads(answer.stdout)
    assert {"uid", "title", "panels", "schemaVersion", "time", "templating"} <= set(board)
    assert [panel["title"] for panel in board["panels"]] == [panel.title for panel in PANELS]
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in board["panels"]]
    assert len(set(places)) == len({p["id"] for p in board["panels"]}) == len(PANELS)
    assert all(t["expr"] and t["refId"] for p in board["panels"] for t in p["targets"])
