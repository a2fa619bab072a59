"""What a run asks a cluster for, and when it gives it back."""

from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import ray.autoscaler.sdk

from raysweep.errors import RequestError
from raysweep.progress import Progress
from raysweep.storage import Storage
from raysweep.study import cluster, nodes
from raysweep.study.model import Compute, Prices
from raysweep.study.nodes import Nodes


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, float]]:
    """Every request to a cluster's autoscaler, by resource; the cluster has what was asked for last, and one CPU."""
    found: list[dict[str, float]] = []

    def request_resources(bundles: list[dict[str, float]]) -> None:
        found.append({kind: sum(b.get(kind, 0) for b in bundles) for kind in ("CPU", "GPU")})

    @contextmanager
    def joined(progress: Progress, *, cpus: int | None, prices: Prices | None):
        yield

    def resources() -> dict[str, float]:
        now = found[-1] if found else {}
        return {"CPU": max(1, now.get("CPU", 0)), "GPU": now.get("GPU", 0)}

    monkeypatch.setattr(ray.autoscaler.sdk, "request_resources", request_resources)
    monkeypatch.setattr(nodes, "cluster", joined)
    monkeypatch.setattr(cluster.ray, "cluster_resources", resources)
    monkeypatch.setattr(cluster.ray, "nodes", lambda: [])
    return found


def test_no_gpu_is_kept_while_slides_are_tiled_and_no_pool_while_networks_train(
    asked: list[dict[str, float]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with ExitStack() as stack:
        run = Nodes(Compute(cpus=32, gpus=4), Storage.open(tmp_path), [], Progress(quiet=True), stack)
        run.want(train=False)
        run.want(train=False)
        run.give_back()
        run.want(train=False)  # a labelled set is written as a patch set
        run.want(train=True)
        run.want(train=True)
    pool, none, gpus = {"CPU": 32, "GPU": 0}, {"CPU": 0, "GPU": 0}, {"CPU": 1, "GPU": 4}
    assert asked == [pool, none, pool, none, gpus, none]


def test_a_cluster_without_gpus_trains_on_its_pool(
    asked: list[dict[str, float]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with ExitStack() as stack:
        run = Nodes(Compute(cpus=8), Storage.open(tmp_path), [], Progress(quiet=True), stack)
        run.want(train=False)
        run.want(train=True)
    assert asked == [{"CPU": 8, "GPU": 0}, {"CPU": 0, "GPU": 0}]


def test_what_this_machine_will_never_have_is_told_before_slides_are_tiled(
    asked: list[dict[str, float]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with ExitStack() as stack:
        run = Nodes(Compute(gpus=4), Storage.open(tmp_path), [], Progress(quiet=True), stack)
        with pytest.raises(RequestError, match=r"^compute.gpus: 4 were asked for, but this machine's Ray has"):
            run.want(train=False)
    assert asked == []
