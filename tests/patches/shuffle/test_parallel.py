"""Calls as Ray tasks: what comes back, and how one that fails ends the others."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ray.exceptions import OutOfMemoryError

from raysweep.errors import WorkError
from raysweep.patches.shuffle.parallel import in_parallel

pytestmark = pytest.mark.usefixtures("ray_session")


def double(number: int) -> int:
    return 2 * number


def refuse(number: int) -> None:
    raise WorkError(f"number {number}: no")


def die(_: int) -> None:
    os._exit(1)


def linger_or_refuse(begun: Path, over: Path, number: int) -> None:
    """One call refuses once the other is under way, which takes a minute if nobody ends it."""
    if number == 0:
        while not begun.exists():
            time.sleep(0.02)
        refuse(number)
    try:
        begun.touch()
        for _ in range(600):
            time.sleep(0.1)
    finally:
        over.touch()


def wait_for(path: Path) -> None:
    end = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < end, f"{path.name}: not within 30 seconds"
        time.sleep(0.02)


def test_all_results_come_however_many_are_under_way():
    for workers in (1, 3, None):
        assert sorted(in_parallel(double, [(n,) for n in range(9)], workers, "doubling")) == list(range(0, 18, 2))


def test_a_call_that_fails_is_told_in_one_sentence():
    with pytest.raises(WorkError, match=r"^refusing stopped: number 7: no$"):
        list(in_parallel(refuse, [(7,)], None, "refusing"))


def test_a_worker_that_dies_is_told_in_one_sentence():
    with pytest.raises(WorkError, match=r"^dying stopped: WorkerCrashedError: The worker died unexpectedly[^.]*$"):
        list(in_parallel(die, [(0,)], None, "dying"))


def test_too_little_memory_is_told_in_one_sentence(monkeypatch):
    def kill(refs: object) -> None:
        raise OutOfMemoryError(
            "Task was killed due to the node running low on memory.\nMemory on the node was 61.27GB."
        )

    monkeypatch.setattr("ray.get", kill)
    told = r"^doubling stopped: OutOfMemoryError: Task was killed due to the node running low on memory$"
    with pytest.raises(WorkError, match=told):
        list(in_parallel(double, [(0,)], None, "doubling"))


def test_what_is_under_way_ends_when_a_call_fails(tmp_path):
    calls = [(tmp_path / "begun", tmp_path / "over", number) for number in range(2)]
    with pytest.raises(WorkError, match=r"^lingering stopped: number 0: no$"):
        list(in_parallel(linger_or_refuse, calls, 2, "lingering"))
    wait_for(tmp_path / "over")


def test_what_is_under_way_ends_when_nobody_wants_more(tmp_path):
    calls = [(tmp_path / "begun", tmp_path / "over", number) for number in range(2)]
    results = in_parallel(first_at_once, calls, 2, "lingering")
    assert next(results) is None
    results.close()
    wait_for(tmp_path / "over")


def first_at_once(begun: Path, over: Path, number: int) -> None:
    if number == 0:
        wait_for(begun)
    else:
        linger_or_refuse(begun, over, number)


CLUSTER = """
import time
from collections import Counter
import ray
from ray.cluster_utils import Cluster
from raysweep.patches.shuffle.parallel import in_parallel


def where(number):
    time.sleep(0.2)
    return ray.get_runtime_context().get_node_id()


cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
ray.init(address=cluster.address, log_to_driver=False)
given, ahead, seen = 0, [], Counter()


def calls():
    global given
    for number in range(1000):
        if grown and len(seen) > 1 and min(seen.values()) > 4:
            return
        given += 1
        yield (number,)


grown = False
for node in in_parallel(where, calls(), None, "looking"):
    seen[node] += 1
    ahead.append(given - sum(seen.values()))
    if sum(seen.values()) == 5:
        waits = max(ahead)
        cluster.add_node(num_cpus=3)
        grown = True
print(len(seen), waits, max(ahead), given)
"""


@pytest.mark.slow
def test_a_node_that_comes_half_way_is_used():
    """And calls wait for a CPU even before, from which an autoscaler sees that more nodes would be used."""
    ran = subprocess.run([sys.executable, "-c", CLUSTER], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr[-3000:]
    nodes, before, after, given = map(int, ran.stdout.split()[-4:])
    assert nodes == 2
    assert 1 < before <= 1 + 4 < after <= 4 + 4
    assert given < 1000
