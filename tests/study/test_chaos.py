"""Whatever is killed, stopped or put to sleep in a study: the end is that of an undisturbed one.

Other places have tests of their own: the driver by SIGKILL in each stage (`test_kill`); Train workers, nodes, spot
nodes that leave and drivers of a pretraining, and a full disk (`pretrain/test_faults`); workers that tile
(`slides/test_killed_workers`); drivers and actors of a search (`sweep/test_run`). Each case here prints a line of a
table, last so (two cores, load 5 to 25):

| what | in | then |
|---|---|---|
| SIGTERM to the driver | all but finals | ended after 1.4 to 2.5 s; goes on |
| kill -9 of a worker | tiling, pretraining, searching | its work is done again |
| kill -9 of a raylet with its node | tiling, searching | goes on on another node |
| kill -9 of the GCS | searching | ends after 51 s with 1 and a sentence; goes on elsewhere |
| a spot node leaves, announced 15 s before | tiling, searching | goes on on another node |
| the working folder is removed | tiling | goes on |
| SIGSTOP of driver and Ray for 60 s, SIGCONT | pretraining, searching | goes on by itself |
| kill -9 of one of two drivers | searching | the other ends the study |
| two drivers at once | all | each piece of work is one's |
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray.cluster_utils import Cluster

from raysweep.storage import Storage
from raysweep.sweep.journal import Journal
from tests.pretrain.test_faults import announce, end_node
from tests.study.mini import SMALL, results, write_mini

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

_NODE = {"object_store_memory": 80 * 2**20, "include_dashboard": False, "num_cpus": 2}
_SLEEP = 60.0


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """The results of a run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("calm")
    run = _Run(folder)
    assert run.end() == 3, run.said()  # of the mini study one slide has no file
    return results(folder)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head that computes nothing, and nodes that are processes of this machine."""
    before = os.environ.get("RAY_TMPDIR")
    with tempfile.TemporaryDirectory(prefix="rs-", dir="/tmp", ignore_cleanup_errors=True) as folder:  # short: sockets
        os.environ["RAY_TMPDIR"] = folder
        made = Cluster(initialize_head=True, head_node_args=_NODE | {"num_cpus": 0})
        made.add_node(**_NODE)
        yield made
        made.shutdown()
        if before is None:
            del os.environ["RAY_TMPDIR"]
        else:
            os.environ["RAY_TMPDIR"] = before


class _Run:
    """`raysweep run` of the mini study in a folder, as a shell starts it."""

    def __init__(self, folder: Path, address: str | None = None, cwd: Path | None = None) -> None:
        self.home = folder / "runs/mini"
        study = folder / "mini.yaml"
        if not study.exists():
            write_mini(folder, **SMALL)
        env = {key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "RAY_TMPDIR")}
        env |= {"RAY_ADDRESS": address} if address else {}
        self.log = folder / f"log-{time.monotonic_ns()}"
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen([sys.executable, "-m", "raysweep.cli", "run", str(study)], stdout=out,
                                            stderr=out, start_new_session=True, env=env, cwd=cwd)  # fmt: skip

    def said(self) -> str:
        return self.log.read_text()

    def until(self, stage: str) -> bool:
        """Wait for a stage to be in the middle of its work; False: it was over before."""
        ready, end = _moments(self.home)[stage], time.monotonic() + 400
        while not ready():
            if self.process.poll() is not None:
                return False
            assert time.monotonic() < end, self.said()
            time.sleep(0.02)
        return self.process.poll() is None

    def signal(self, number: signal.Signals) -> float:
        """How long it takes to end."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(60)
        return time.monotonic() - began

    def end(self) -> int:
        return self.process.wait(800)


def _moments(home: Path) -> dict[str, Callable[[], bool]]:
    def some(pattern: str, least: int = 1) -> Callable[[], bool]:
        return lambda: len(list(home.glob(pattern))) >= least

    return {
        "tiling": some("spool/*/*"),
        "pretraining": some("checkpoints/supervised/*/metrics.jsonl"),
        "features": some("features/*/*/*/*"),
        "searching": lambda: _told(home) >= 3,
        "finals": some("cells/*/*/*/*/*/*/predictions/*.parquet", 3),
        "reporting": some("results.parquet"),
    }


def _told(home: Path) -> int:
    """Trials that have ended."""
    files = home.glob("cells/*/*/*/*/*/*/journal/*.jsonl")
    return sum(e["event"] == "told" for f in files for e in Journal(Storage.open(f.parent), f.stem).read())


def _descendants(process: psutil.Process, name: str) -> list[psutil.Process]:
    found = []
    for child in process.children(recursive=True):
        try:
            if re.match(f"ray::.*{name}", " ".join(child.cmdline())):
                found.append(child)
        except psutil.Error:  # it ended this moment
            continue
    return found


def _killed(parent: psutil.Process, name: str, run: _Run) -> psutil.Process:
    """One of the processes of that name below `parent`, killed as soon as there is one."""
    end = time.monotonic() + 200
    while not (found := _descendants(parent, name)):
        assert run.process.poll() is None, run.said()
        assert time.monotonic() < end, run.said()
        time.sleep(0.02)
    found[0].kill()
    return found[0]


def _told_line(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |")


def test_a_driver_is_stopped_by_sigterm_in_every_stage(tmp_path: Path, calm: list[dict]) -> None:
    stopped = {}
    for stage in ("tiling", "pretraining", "features", "searching", "finals", "reporting"):
        if _moments(tmp_path / "runs/mini")[stage]():  # the run before got that far: this one has not begun to listen
            continue
        run = _Run(tmp_path)
        if not run.until(stage):
            continue  # a quick machine was beyond it before it could be looked at
        seconds = run.signal(signal.SIGTERM)
        if run.process.returncode == 3:
            continue  # it had just ended
        assert run.process.returncode == 143, run.said()
        assert run.said().endswith("raysweep: stopped; run the same command again to go on\n"), run.said()
        assert "Traceback" not in run.said()
        assert not list((run.home / "sharing").rglob("*.json"))
        stopped[stage] = seconds
        _told_line("SIGTERM to the driver", stage, f"ended after {seconds:.1f} s; goes on")
    assert len(stopped) >= 4
    assert max(stopped.values()) <= 10
    run = _Run(tmp_path)
    assert run.end() == 3, run.said()
    assert results(tmp_path) == calm


def test_processes_of_a_study_are_killed_under_it(tmp_path: Path, calm: list[dict]) -> None:
    """One run sees a worker die in each stage, and ends by itself."""
    run = _Run(tmp_path)
    driver = psutil.Process(run.process.pid)
    for name, place in (
        ("_read_cuts", "tiling"),
        ("RayTrainWorker", "pretraining"),
        ("ResourceTrainable", "searching"),
    ):
        _killed(driver, name, run)
        _told_line(f"kill -9 of a worker ({name})", place, "its work is done again")
    assert run.end() == 3, run.said()
    assert results(tmp_path) == calm


@pytest.mark.parametrize("stage", ["tiling", "searching"])
def test_a_node_dies_with_all_that_runs_on_it(stage: str, tmp_path: Path, calm: list[dict], cluster: Cluster) -> None:
    run = _Run(tmp_path, cluster.address)
    assert run.until(stage), run.said()
    end_node(cluster, next(iter(cluster.worker_nodes)))
    cluster.add_node(**_NODE)
    assert run.end() == 3, run.said()
    assert results(tmp_path) == calm
    _told_line("kill -9 of a raylet with its node", stage, "goes on on another node")


@pytest.mark.parametrize("stage", ["tiling", "searching"])
def test_a_spot_node_leaves_as_announced(stage: str, tmp_path: Path, calm: list[dict], cluster: Cluster) -> None:
    run = _Run(tmp_path, cluster.address)
    assert run.until(stage), run.said()
    node = next(iter(cluster.worker_nodes))
    announce(cluster.address, node, 15)
    cluster.add_node(**_NODE)
    time.sleep(15)
    end_node(cluster, node)
    assert run.end() == 3, run.said()
    assert results(tmp_path) == calm
    _told_line("a spot node leaves, announced 15 s before", stage, "goes on on another node")


@pytest.mark.parametrize("stage", ["pretraining", "searching"])
def test_a_machine_sleeps_for_a_minute(stage: str, tmp_path: Path, calm: list[dict]) -> None:
    run = _Run(tmp_path)
    assert run.until(stage), run.said()
    os.killpg(run.process.pid, signal.SIGSTOP)
    time.sleep(_SLEEP)
    os.killpg(run.process.pid, signal.SIGCONT)
    code = run.end()
    said = f"ended with {code}"
    if code != 3:  # what it lost meanwhile it says in one sentence
        assert code == 1, run.said()
        assert run.said().splitlines()[-1].startswith("raysweep: "), run.said()
        said += f" ({run.said().splitlines()[-1]}); goes on"
        run = _Run(tmp_path)
        assert run.end() == 3, run.said()
    assert results(tmp_path) == calm
    _told_line("SIGSTOP of driver and Ray for 60 s, SIGCONT", stage, said)


def test_the_working_folder_goes_away(tmp_path: Path, calm: list[dict]) -> None:
    """Torch's MKL ends a process that loads it in a folder that has gone: every worker, and the driver."""
    (tmp_path / "cwd").mkdir()
    run = _Run(tmp_path, cwd=tmp_path / "cwd")
    assert run.until("tiling"), run.said()
    (tmp_path / "cwd").rmdir()
    assert run.end() == 3, run.said()
    assert results(tmp_path) == calm
    _told_line("the working folder is removed", "tiling", "goes on")


def test_two_drivers_share_a_study_and_one_of_them_dies(tmp_path: Path, calm: list[dict]) -> None:
    first = _Run(tmp_path)
    assert first.until("pretraining"), first.said()
    other = _Run(tmp_path)
    assert first.until("searching"), first.said()
    first.signal(signal.SIGKILL)
    assert other.end() == 3, other.said()
    assert results(tmp_path) == calm
    _told_line("kill -9 of one of two drivers", "searching", "the other ends the study")


def test_two_drivers_make_nothing_twice(tmp_path: Path, calm: list[dict]) -> None:
    runs = [_Run(tmp_path), _Run(tmp_path)]
    assert [run.end() for run in runs] == [3, 3], [run.said() for run in runs]
    assert results(tmp_path) == calm
    said = "".join(run.said() for run in runs)
    assert said.count("pretrain supervised: started") == 1
    assert said.count("tile tissue: started") == 1
    files = list(tmp_path.glob("runs/mini/cells/*/*/*/*/*/*/journal/*.jsonl"))
    asked = [[e for e in Journal(Storage.open(f.parent), f.stem).read() if e["event"] == "asked"] for f in files]
    assert all(len({str(e) for e in events}) == len(events) for events in asked)
    _told_line("two drivers at once", "all", "each piece of work is one's")


def test_the_head_dies(tmp_path: Path, calm: list[dict]) -> None:
    """Without fault tolerance of the GCS: the run ends with one sentence, and another one goes on."""
    with tempfile.TemporaryDirectory(prefix="rs-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        before: Any = os.environ.get("RAY_TMPDIR")
        os.environ["RAY_TMPDIR"] = folder
        try:
            made = Cluster(initialize_head=True, head_node_args=_NODE | {"num_cpus": 2})
            run = _Run(tmp_path, made.address)
            assert run.until("searching"), run.said()
            gcs = psutil.Process(made.head_node.all_processes["gcs_server"][0].process.pid)
            gcs.kill()
            began = time.monotonic()
            code = run.end()
            seconds = time.monotonic() - began
            made.shutdown()
        finally:
            if before is None:
                del os.environ["RAY_TMPDIR"]
            else:
                os.environ["RAY_TMPDIR"] = before
    last = run.said().splitlines()[-1]
    assert code == 1, run.said()
    assert last.startswith("raysweep: "), run.said()
    run = _Run(tmp_path)
    assert run.end() == 3, run.said()
    assert results(tmp_path) == calm
    _told_line("kill -9 of the GCS", "searching", f"ends after {seconds:.0f} s with 1; goes on elsewhere")
