"""kill -9 of a worker, a node and the driver, SIGTERM, nodes that do not come, a disk without room.

One study of one small checkpoint goes through all of them, as a command that is started by a shell or a scheduler.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest
import yaml
from ray.cluster_utils import Cluster

from raysweep.pretrain.log import METRICS
from raysweep.pretrain.states import States
from raysweep.stopping import STOPPED
from raysweep.storage import Storage
from tests.pretrain import ranks
from tests.pretrain.test_launch import SPEC, artefact_of, same_weights, undisturbed

pytestmark = pytest.mark.timeout(900)

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
    def start(
        cls, home: Path, *changes: str, address: str | None = None, start_timeout: int | None = None
    ) -> "Command":
        log = home / f"log-{time.monotonic_ns()}"
        env = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"} | _QUICK
        if address:
            env["RAY_ADDRESS"] = address
        if start_timeout:
            env["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(start_timeout)
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


def folders(home: Path) -> list[Storage]:
    """The folders of the study's one checkpoint, which fingerprints name; there once a run has begun."""
    folder = Storage.open(home / "runs/faults/checkpoints/toy")
    return [folder.at(name) for name in folder.names() if name != "current"]


def checkpoint(home: Path) -> Storage:
    """The one folder."""
    found = folders(home)
    assert len(found) < 2, "a run did not find the folder of the one before"
    return found[0] if found else Storage.open(home / "none")


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
    """A head that computes nothing. Its nodes are processes of this machine, which no other test's Ray finds."""
    before = os.environ.get("RAY_TMPDIR")
    with tempfile.TemporaryDirectory(prefix="rs-", dir="/tmp", ignore_cleanup_errors=True) as folder:  # short: sockets
        os.environ["RAY_TMPDIR"] = folder
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **NODE})
        yield made
        made.shutdown()
        if before is None:
            del os.environ["RAY_TMPDIR"]
        else:
            os.environ["RAY_TMPDIR"] = before


def end_node(cluster: Cluster, node: Any) -> None:
    """kill -9 of all that runs on a node, at once."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    for process in [raylet, *raylet.children(recursive=True)]:
        process.kill()
    cluster.remove_node(node, allow_graceful=False)


@pytest.mark.slow
def test_deaths_of_workers_nodes_and_drivers_change_nothing(home, cluster, patch_set, pair):
    """On a cluster that has too few nodes when it begins, and again for a while after one of them has died."""
    cluster.add_node(num_cpus=1, **NODE)
    run = Command.start(home, address=cluster.address, start_timeout=2)
    run.until(lambda: run.said().count("waiting up to 15 minutes for 2 CPUs; Ray has 1 now") == 1)
    node = cluster.add_node(num_cpus=1, **NODE)
    run.until_beyond(0)

    trainers()[1].kill()
    print(f"a worker: {run.goes_on():.0f} s")

    end_node(cluster, node)
    run.until(lambda: run.said().count("waiting up to 15 minutes for 2 CPUs; Ray has 1 now") == 2)
    cluster.add_node(num_cpus=1, **NODE)
    print(f"a node, from when it is replaced: {run.goes_on():.0f} s")

    run.process.kill()
    run.end()
    step, before = newest(home), epochs(home)
    assert 0 < step < _EPOCHS * _STEPS - 5, "too fast to be killed in mid-run"
    began = time.monotonic()
    run = Command.start(home, address=cluster.address)
    run.until_beyond(step)
    print(f"a driver: {time.monotonic() - began:.0f} s")
    assert run.end() == 0, run.said()

    after, kept = epochs(home), step // _STEPS
    assert after[:kept] == before[:kept]  # with their times: none was trained again
    assert [line["epoch"] for line in after] == list(range(1, _EPOCHS + 1))
    assert same_weights(checkpoint(home), undisturbed(home, patch_set, SPEC_LONG, pair))


def announce(address: str, node: Any, seconds: int) -> None:
    """Tell a cluster that a node will be taken away, as an autoscaler does when a cloud wants a spot node back."""
    words = ["drain-node", f"--address={address}", f"--node-id={node.node_id}",
             "--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=wanted back",
             f"--deadline-remaining-seconds={seconds}"]  # fmt: skip
    ray = str(Path(sys.executable).with_name("ray"))
    done = subprocess.run([ray, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.long
def test_a_node_that_leaves_is_left_with_a_state(home, cluster, patch_set, pair):
    """A spot node is announced as leaving and goes: no step is trained again, though no state was due for minutes."""
    while len(cluster.worker_nodes) < 2:
        cluster.add_node(num_cpus=1, **NODE)
    run = Command.start(home, "compute.save_steps=null", address=cluster.address, start_timeout=8)
    run.until(lambda: checkpoint(home).exists(METRICS))
    assert newest(home) == 0
    began = time.monotonic()
    node = next(iter(cluster.worker_nodes))
    announce(cluster.address, node, 20)
    run.until_beyond(0)
    print(f"a state, after the node is announced as leaving: {time.monotonic() - began:.1f} s")
    time.sleep(max(0.0, began + 20 - time.monotonic()))
    end_node(cluster, node)
    cluster.add_node(num_cpus=1, **NODE)
    assert run.end() == 0, run.said()
    assert [line["epoch"] for line in epochs(home)] == list(range(1, _EPOCHS + 1))
    assert same_weights(checkpoint(home), undisturbed(home, patch_set, SPEC_LONG, pair))


@pytest.mark.long
def test_a_training_that_is_stopped_leaves_one_sentence(home, cluster):
    """SIGTERM, what schedulers send."""
    run = Command.start(home, "compute.cpus=2")  # a Ray of its own, although one has been started on this machine
    run.until_beyond(0)
    run.process.send_signal(signal.SIGTERM)
    assert run.end() == 143, run.said()
    assert run.said().count("raysweep:") == 1
    assert run.said().endswith(f"raysweep: {STOPPED}\n"), run.said()
    assert "Traceback" not in run.said()
    assert when(lambda: not group(run.process.pid), 30)
    assert not (home / "runs/faults/lease.json").exists()
    changed = artefact_of(home, SPEC_LONG.model_copy(update={"lr": 0.04}))
    assert changed.folder != artefact_of(home, SPEC_LONG).folder  # other settings never go on from these weights


@pytest.mark.long
def test_a_training_goes_on_with_the_nodes_that_are_left(home, cluster):
    """On a cluster that loses a node for good, and then the other for a while."""
    while len(cluster.worker_nodes) < 2:
        cluster.add_node(num_cpus=1, **NODE)
    run = Command.start(home, "compute.least_workers=1", address=cluster.address, start_timeout=8)
    run.until_beyond(0)
    end_node(cluster, next(iter(cluster.worker_nodes)))
    print(f"one node less: {run.goes_on():.0f} s")
    assert len(trainers()) == 1
    end_node(cluster, next(iter(cluster.worker_nodes)))
    run.until(lambda: run.said().count("waiting up to 15 minutes for 1 CPUs; Ray has 0 now") == 1)
    cluster.add_node(num_cpus=1, **NODE)
    print(f"none left, from when one comes: {run.goes_on():.0f} s")
    assert run.end() == 0, run.said()
    assert [line["epoch"] for line in epochs(home)] == list(range(1, _EPOCHS + 1))
    assert all(line["accuracy"] <= 1 for line in epochs(home))  # a mean over the ranks that there were


@pytest.mark.slow
def test_a_full_disk_stops_no_training_and_spoils_no_state(small_disk, patch_set, caplog):
    """States and figures that do not fit are left out; with room again it ends as if nothing had been."""
    work = ranks.job(Storage.open(small_disk / "out"), patch_set, backbone="test_resnet", epochs=6, save=5)
    calm = ranks.job(Storage.open(small_disk.parent / "calm"), patch_set, backbone="test_resnet", epochs=6)
    states = work.out.at("resume", "states")
    failures: list[BaseException] = []

    def run() -> None:
        try:
            ranks.run(work)
        except BaseException as error:
            failures.append(error)

    thread = Thread(target=run)
    thread.start()
    assert when(lambda: States.newest(states) > 0, 60)
    fill(small_disk / "ballast")
    good = states.names()
    thread.join(120)
    assert "could not be written (" in caplog.text
    assert [str(error) for error in failures] == [
        f"{work.out.path(METRICS)}: cannot be written (No space left on device)"
    ]
    assert set(states.names()) <= set(good)
    last = States(states).last()
    assert last is not None
    assert 0 < last["step"] < 6 * _STEPS - 5

    (small_disk / "ballast").unlink()
    ranks.run(work)
    ranks.run(calm)
    assert same_weights(work.out, calm.out)
    lines = [json.loads(line) for line in work.out.read_bytes(METRICS).splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 7))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """16 MiB: room for some states, of which one takes 3."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("a disk that is full: only root may mount one")
    mounted = subprocess.run([mount, "-t", "tmpfs", "-o", "size=16m", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a disk that is full: none can be mounted here ({mounted.stderr.strip()})")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def fill(file: Path) -> None:
    """Take all the room that a disk has."""
    with open(file, "wb", buffering=0) as out, suppress(OSError):
        while True:
            out.write(bytes(4096))


def trainers() -> list[psutil.Process]:
    """The Train workers of this test's cluster, and of no other."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if "RayTrainWorker" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:  # it ended meanwhile
            continue
    return found


def when(ready: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ready():
            return True
        time.sleep(0.1)
    return False


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
