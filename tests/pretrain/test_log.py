"""The same figures in metrics.jsonl, TensorBoard, trackers and Ray's gauges."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from raysweep.pretrain import gauges, log
from raysweep.pretrain.gauges import Gauges
from raysweep.pretrain.log import LIVE, METRICS, SAID, Log, speed_of
from raysweep.pretrain.loop import train
from raysweep.storage import Storage
from tests.pretrain.ranks import job


class Recorded:
    """A gauge that keeps what it is set to."""

    told: list[tuple[str, float, dict[str, str]]]

    def __init__(self, name: str, about: str, tags: tuple[str, ...]) -> None:
        self.name, self.tags = name, tags

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert set(self.tags) == set(tags)
        self.told.append((self.name, value, tags))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, dict[str, str]]]:
    """What gauges were set to; every step is noted, without a wait between."""
    found: list[tuple[str, float, dict[str, str]]] = []
    monkeypatch.setattr(Recorded, "told", found, raising=False)
    monkeypatch.setattr(gauges, "Gauge", Recorded)
    monkeypatch.setattr(log, "_LIVE_SECONDS", 0.0)
    return found


def test_a_training_shows_its_figures_everywhere(tmp_path: Path, patch_set: Storage, told: list) -> None:
    out = Storage.open(tmp_path / "out")
    train(job(out, patch_set, backbone="test_resnet", epochs=2, batch=100), gauges=Gauges("toy"))
    lines = [json.loads(line) for line in out.read_bytes(METRICS).splitlines()]
    assert {"epoch", "loss", "lr", "images", "wait_seconds", "epoch_seconds", "spread"} <= lines[0].keys()
    for line in lines:
        speed = speed_of(line)
        assert speed["images_per_second"] == pytest.approx(300 / line["epoch_seconds"])
        assert 0 <= speed["wait_share"] <= 1

    events = EventAccumulator(out.path("tensorboard"))
    events.Reload()
    names = {name for name in lines[0] if name != "epoch"} | {"images_per_second", "wait_share"}
    assert set(events.Tags()["scalars"]) == {f"pretrain/{name}" for name in names}
    for name in names:
        written = [(event.step, event.value) for event in events.Scalars(f"pretrain/{name}")]
        assert written == [
            (line["epoch"], pytest.approx({**line, **speed_of(line)}[name], rel=1e-6)) for line in lines
        ]  # fmt: skip

    assert {name for name, _, _ in told} == {
        "raysweep_pretrain_loss", "raysweep_pretrain_lr", "raysweep_pretrain_images_per_second",
        "raysweep_pretrain_wait_share",
    }  # fmt: skip
    assert all(tags == {"checkpoint": "toy"} for _, _, tags in told)
    losses = [value for name, value, _ in told if name.endswith("loss")]
    assert len(losses) == 6
    assert sum(losses[:3]) / 3 == pytest.approx(lines[0]["loss"])
    assert [value for name, value, _ in told if name.endswith("_lr")][-1] == lines[-1]["lr"]
    assert all(0 <= value <= 1 for name, value, _ in told if name.endswith("wait_share"))
    assert all(value > 0 for name, value, _ in told if name.endswith("images_per_second"))


def test_a_rate_is_of_all_steps_since_the_last_note(tmp_path: Path, told: list, monkeypatch) -> None:
    clock = iter([0.0, 1.0, 2.0, 4.0])
    monkeypatch.setattr(log, "_LIVE_SECONDS", 2.0)
    monkeypatch.setattr(log, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    made = Log(Storage.open(tmp_path), epochs_done=0, gauges=Gauges("toy"))
    for step in range(3):
        made.step((step + 1) * 32, loss=torch.tensor(0.5), lr=0.1, batch=32, waited=0.5)
    monkeypatch.undo()
    made.close()
    assert [value for name, value, _ in told if name.endswith("second")] == [32.0, 16.0]
    assert [value for name, value, _ in told if name.endswith("share")] == [0.5, 0.25]
    assert Storage.open(tmp_path).read_json(*LIVE) == {"images": 96}


def test_what_is_said_is_kept_once_over_restarts(tmp_path: Path) -> None:
    folder = Storage.open(tmp_path)
    for _ in range(2):
        made = Log(folder, epochs_done=0)
        made.say("one")
        made.say("two")
        made.close()
    assert folder.read_json(*SAID) == ["one", "two"]


class Tracked:
    """In place of the trackers: what they are sent."""

    def __init__(self, say: Any) -> None:
        self.sent: list[tuple[dict[str, float], int]] = []
        self.closed = False

    def log(self, figures: dict[str, float], step: int) -> None:
        self.sent.append((figures, step))

    def close(self) -> None:
        self.closed = True


def test_trackers_get_what_tensorboard_gets(tmp_path: Path) -> None:
    tracked = Tracked(None)
    made = Log(Storage.open(tmp_path), epochs_done=0, trackers=lambda say: tracked)  # type: ignore[arg-type,return-value]
    line = {"epoch": 1, "loss": 2.0, "images": 100, "epoch_seconds": 4.0, "wait_seconds": 1.0}
    made.epoch([line])
    made.close()
    assert tracked.closed
    assert tracked.sent == [
        ({"loss": 2.0, "images": 100, "epoch_seconds": 4.0, "wait_seconds": 1.0, "images_per_second": 25.0,
          "wait_share": 0.25}, 1)
    ]  # fmt: skip
