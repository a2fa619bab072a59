"""kill -9 of a worker, a node and the driver, SIGTERM, nodes that do not come, a disk without room.

One study of one small checkpoint goes through all of them, as a command that is started by a shell or a scheduler.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from ray.cluster_utils import Cluster

from raysweep.pretrain.log import METRICS
from raysweep.pretrain.states import States
from raysweep.stopping import STOPPED
from raysweep.storage import Storage
from tests.pretrain.test_launch import SPEC, same_weights, trainers, undisturbed, when

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

_EPOCHS = 20
_STEPS = 9  # of an epoch
SPEC_LONG = SPEC.model_copy(update={"epochs": _EPOCHS})
NODE = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
_QUICK = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"}


@dataclass
class Command:
    """`raysweep pretrain` of the study, running."""

    process: subprocess.Popen
    log: Path
    home: Path  # of the study

    @classmethod
    def start(cls, home: Path, *changes: str, address: str | None = None) -> "Command":
        log = home / f"log-{time.monotonic_ns()}"
        env = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"} | _QUICK
        if address:
            env["RAY_ADDRESS"] = address
        with open(log, "wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "raysweep.cli", "pretrain", str(home / "study.yaml"), *changes],
                stdout=out,
                stderr=out,
                start_new_session=True,
                env=env,
            )
        return cls(process, log, home)

    def said(self) -> str:
        return self.log.read_text()

    def until(self, ready: Callable[[], bool], seconds: float = 200) -> float:
        """Wait for something to happen while it runs; how long that took."""
        began = time.monotonic()
        assert when(lambda: ready() or self.process.poll() is not None, seconds), self.said()
        assert ready(), f"it ended first, with {self.process.poll()}:\n{self.said()}"
        return time.monotonic() - began

    def until_beyond(self, step: int) -> float:
        """Wait for a state later than that of a step."""
        return self.until(lambda: newest(self.home) > step)

    def goes_on(self) -> float:
        """Wait for a state beyond those of what was killed this moment; how long that took."""
        began = time.monotonic()
        time.sleep(0.3)  # a state that was being written
        self.until_beyond(newest(self.home))
        return time.monotonic() - began

    def end(self) -> int:
        return self.process.wait(300)


def checkpoint(home: Path) -> Storage:
    """The folder of the study's one checkpoint, which its fingerprint names; there once a run has begun."""
    folder = Storage.open(home / "runs/faults/checkpoints/toy")
    found = [name for name in folder.names() if name != "current"]
    assert len(found) < 2, "a run did not find the folder of the one before"
    return folder.at(*found)


def newest(home: Path) -> int:
    """The step of the newest state."""
    return States.newest(checkpoint(home).at("resume", "states"))


def epochs(home: Path) -> list[dict[str, Any]]:
    """The figures of each epoch; their times tell a repeated epoch from the one before."""
    folder = checkpoint(home)
    return [json.loads(line) for line in folder.read_bytes(METRICS).splitlines()]


@pytest.fixture
def home(tmp_path: Path, patch_set: Storage) -> Path:
    """A folder with the study: one checkpoint of 180 steps by two workers, a state every 5."""
    study = {
        "name": "faults",
        "storage": str(tmp_path / "runs"),
        "checkpoints": {"toy": SPEC_LONG.model_dump(exclude_defaults=True) | {"patches": patch_set.root}},
        "compute": {"workers": 2, "save_steps": 5},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    return tmp_path


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head that computes nothing. Its nodes are processes of this machine."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **NODE})
    yield made
    made.shutdown()


def end_node(cluster: Cluster, node: Any) -> None:
    """kill -9 of all that runs on a node, at once."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    for process in [raylet, *raylet.children(recursive=True)]:
        process.kill()
    cluster.remove_node(node, allow_graceful=False)


def test_deaths_of_worker_node_and_driver_change_nothing(home, cluster, patch_set, pair):
    cluster.add_node(num_cpus=1, **NODE)
    run = Command.start(home, address=cluster.address)
    print("waits", run.until(lambda: "waiting up to 15 minutes for 2 CPUs; Ray has 1 now" in run.said()))
    node = cluster.add_node(num_cpus=1, **NODE)
    print("first state", run.until_beyond(0))

    trainers()[1].kill()
    print("worker", newest(home), run.goes_on(), newest(home))

    end_node(cluster, node)
    cluster.add_node(num_cpus=1, **NODE)
    print("node", newest(home), run.goes_on(), newest(home))

    run.process.kill()
    run.end()
    step, before = newest(home), epochs(home)
    assert 0 < step < _EPOCHS * _STEPS - 5, "too fast to be killed in mid-run"
    run = Command.start(home, address=cluster.address)
    print("driver", step, run.until_beyond(step))
    assert run.end() == 0, run.said()
    after = epochs(home)
    kept = step // _STEPS
    assert after[:kept] == before[:kept]
    assert [line["epoch"] for line in after] == list(range(1, _EPOCHS + 1))
    assert same_weights(checkpoint(home), undisturbed(home, patch_set, SPEC_LONG, pair))
    print(run.said())


def test_a_stopped_training_goes_on_with_the_nodes_that_are_left(home, cluster, patch_set):
    run = Command.start(home, "compute.cpus=2")
    print("local", run.until_beyond(0))
    run.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    assert run.end() == 143
    print("stopped", time.monotonic() - began)
    assert run.said().endswith(f"raysweep: {STOPPED}\n"), run.said()
    assert "Traceback" not in run.said()
    assert when(lambda: not group(run.process.pid), 30)
    assert not (home / "runs/faults/lease.json").exists()
    print(run.said())

    step = newest(home)
    while len(cluster.worker_nodes) < 2:
        cluster.add_node(num_cpus=1, **NODE)
    run = Command.start(home, "compute.least_workers=1", address=cluster.address)
    run.until_beyond(step)
    end_node(cluster, next(iter(cluster.worker_nodes)))
    print("elastic", newest(home), run.goes_on(), newest(home))
    assert len(trainers()) == 1
    assert run.end() == 0, run.said()
    print(run.said())


def group(leader: int) -> list[int]:
    """The processes of a group that live."""
    found = []
    for process in psutil.process_iter(["pid", "status"]):
        try:
            if os.getpgid(process.pid) == leader and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except OSError:  # it has ended this moment
            continue
    return found
