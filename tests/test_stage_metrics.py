import sys
from types import SimpleNamespace
from typing import Any

import pytest
from ray.util import metrics

from raysweep import stage_metrics
from raysweep.progress import Progress


class _Noted:
    told: list[tuple[str, float, dict[str, str]]]

    def __init__(self, name: str, about: str, tags: tuple[str, ...]) -> None:
        self.name = name

    def inc(self, value: float, tags: dict[str, str]) -> None:
        self.told.append((self.name.removeprefix("raysweep_"), value, tags))

    set = inc


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, dict[str, str]]]:
    told: list = []
    monkeypatch.setattr(_Noted, "told", told, raising=False)
    monkeypatch.setattr(metrics, "Counter", _Noted)
    monkeypatch.setattr(metrics, "Gauge", _Noted)
    monkeypatch.setattr(stage_metrics, "_has_ray", lambda: True)
    return told


def test_a_stage_is_measured_however_it_is_shown(told: list, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_metrics, "_EVERY_SECONDS", 0.0)
    for progress in (Progress(quiet=True), Progress(json=True), Progress()):
        told.clear()
        with progress.stage("tile", 3, "slides") as stage:
            stage.advance(2, failed=1)
        assert told == [(f"stage_{key}", value, {"stage": "tile"}) for values in ((0, 3, 0), (2, 3, 1), (2, 3, 1))
                        for key, value in zip(("done", "total", "failed"), values, strict=True)]  # fmt: skip


def test_a_stage_of_unknown_length_and_many_small_steps(told: list) -> None:
    with Progress(quiet=True).stage("tile", None, "slides") as stage:
        for _ in range(1000):
            stage.advance()
    assert told == [
        (f"stage_{key}", n, {"stage": "tile"}) for n in (0, 1000) for key, n in (("done", n), ("failed", 0))
    ]


def test_what_failed_is_counted(told: list) -> None:
    Progress(quiet=True).failed("checkpoint x", "diverged")
    assert told == [("failures", 1, {"name": "checkpoint x"})]


def test_a_metric_that_fails_ends_nothing_and_none_is_made_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no such metric")

    monkeypatch.setattr(metrics, "Gauge", broken)
    for here in (True, False):
        monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda here=here: here))
        with Progress(quiet=True).stage("tile", 3, "slides") as stage:
            stage.advance()
        assert stage.done == 1
