"""The metrics of tiling, as Ray takes and exports them."""

import re
import time
import urllib.error
import urllib.request
import uuid

import pytest

from raysweep.slides import meter
from raysweep.slides.meter import Meter


class _Noted:
    """A counter or gauge that keeps what it is told."""

    told: list[tuple[str, float, dict[str, str]]]

    def __init__(self, name: str, about: str, tags: tuple[str, ...]) -> None:
        self.name = name

    def inc(self, value: float, tags: dict[str, str]) -> None:
        self.told.append((self.name, value, tags))

    set = inc


def test_what_is_left_falls_with_every_slide_whatever_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list = []
    monkeypatch.setattr(_Noted, "told", told, raising=False)
    monkeypatch.setattr(meter, "Counter", _Noted)
    monkeypatch.setattr(meter, "Gauge", _Noted)
    metrics = Meter("tissue", 10)
    metrics.resume(4)
    metrics.count(patches=64, bytes=1000)
    metrics.count(done=1)
    metrics.count(failed=1)
    metrics.count(skipped=2)
    assert [value for name, value, _ in told if name == "raysweep_tile_left"] == [10, 6, 6, 5, 4, 2]
    assert [(name.removeprefix("raysweep_tile_"), value) for name, value, _ in told if "left" not in name] == [
        ("patches", 64), ("bytes", 1000), ("done", 1), ("failed", 1), ("skipped", 2)
    ]  # fmt: skip
    assert all(tags == {"patch_set": "tissue"} for _, _, tags in told)


@pytest.mark.usefixtures("ray_session")
def test_ray_exports_them() -> None:
    import ray

    (node,) = ray.nodes()
    if node["MetricsExportPort"] <= 0:
        pytest.skip("this Ray exports no metrics: they need `pip install 'ray[default]'`")
    name = uuid.uuid4().hex
    metrics = Meter(name, 10)
    metrics.count(patches=64, bytes=1000)
    metrics.count(done=3)
    metrics.count(failed=1)
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    wanted = {"patches_total": 64, "bytes_total": 1000, "done_total": 3, "failed_total": 1, "left": 6}
    found: dict[str, float] = {}
    until = time.monotonic() + 60  # Ray reports every ten seconds
    while found != wanted and time.monotonic() < until:
        time.sleep(1)
        try:
            text = urllib.request.urlopen(address, timeout=10).read().decode()
        except urllib.error.URLError:
            continue
        lines = [line for line in text.splitlines() if f'patch_set="{name}"' in line]
        found = {re.match(r"ray_raysweep_tile_(\w+)", line)[1]: float(line.rpartition(" ")[2]) for line in lines}
    assert found == wanted
