"""Which nodes live in which stage, on Ray's autoscaler with its provider of make-believe nodes.

An hour of a stage is half a minute here, and the minutes that a node may be idle are as many half seconds. Nodes are
raylets of this machine that say they have GPUs; stages are tasks that hold them and sleep.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from raysweep.study.model import Compute
from tests.study.test_submit import end_all

_ROOT = Path(__file__).parents[2]
_PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"  # its own type lacks a file
_HEAD = "f" * 51 + "00000"  # what the provider takes for the head's own number, of 56 digits
_HOUR = 30.0  # seconds
_STAGES = """
import json, sys, threading, time
from contextlib import ExitStack
import ray
from raysweep.progress import Progress
from raysweep.storage import Storage
from raysweep.study.model import Compute
from tests.study.test_submit import end_all
from raysweep.study.nodes import Nodes

hour, home, seen, stages = float(sys.argv[1]), Storage.open(sys.argv[2]), [], []

def look():
    while True:
        found = [n["Resources"] for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU")]
        kinds = [("GPU" if of.get("GPU") else "CPU") for of in found]
        seen.append([time.time(), kinds.count("CPU"), kinds.count("GPU")])
        time.sleep(0.2)

with ExitStack() as stack:
    nodes = Nodes(Compute(cpus=2, gpus=2), home, [], Progress(), stack)
    for stage in ("tile", "pretrain", "tune"):
        nodes.want(train=stage != "tile")
        if not seen:
            threading.Thread(target=look, daemon=True).start()
        began = time.time()
        hold = ray.remote(lambda: time.sleep(hour)).options(**({"num_cpus": 1} if stage == "tile" else {"num_gpus": 1}))
        ray.get([hold.remote() for _ in range(2)])
        nodes.give_back()
        stages.append([stage, began, time.time()])
    until = time.time() + 60
    while seen[-1][1] + seen[-1][2] and time.time() < until:
        time.sleep(0.2)
print(json.dumps({"stages": stages, "seen": seen}))
"""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Of a head that starts and ends such nodes: some with CPUs, some with GPUs, from zero, as in cluster.yaml."""
    given = yaml.safe_load((_ROOT / "cluster.yaml").read_text())
    idle_minutes = given["idle_timeout_minutes"] * _HOUR / 3600
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = 21000 + free.getsockname()[1] % 4000
    types = {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "cpu": {"resources": {"CPU": 2}, "node_config": {}, "min_workers": 0, "max_workers": 2},
        "gpu": {"resources": {"CPU": 2, "GPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    }
    config = {
        "cluster_name": "make-believe", "max_workers": 4, "upscaling_speed": 1.0, "idle_timeout_minutes": idle_minutes,
        "provider": {
            "type": "external", "module": _PROVIDER, "disable_node_updaters": True, "launch_multiple": True,
            "disable_launch_config_check": True, "head_node_id": _HEAD, "gcs_address": f"127.0.0.1:{port}",
        },
        "available_node_types": types, "head_node_type": "ray.head.default", "auth": {}, "docker": {},
        "initialization_commands": [], "setup_commands": [], "head_setup_commands": [], "worker_setup_commands": [],
        "head_start_ray_commands": [], "worker_start_ray_commands": [], "file_mounts": {}, "cluster_synced_files": [],
        "file_mounts_sync_continuously": False, "rsync_exclude": [], "rsync_filter": [],
    }  # fmt: skip
    (tmp_path / "cluster.json").write_text(json.dumps(config))
    with tempfile.TemporaryDirectory(prefix="rs-", dir="/tmp", ignore_cleanup_errors=True) as short:
        env = os.environ | {
            "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": _HEAD, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": _HEAD, "RAY_TMPDIR": short,
        }  # fmt: skip
        with open(tmp_path / "head.log", "w") as log:
            head = subprocess.Popen(
                [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--port={port}",
                 "--node-ip-address=127.0.0.1", "--num-cpus=0", "--num-gpus=0", "--include-dashboard=false",
                 "--object-store-memory=80000000", f"--temp-dir={short}/ray", "--min-worker-port=0",
                 "--max-worker-port=0", "--dashboard-agent-listen-port=0", "--disable-usage-stats",
                 f"--autoscaling-config={tmp_path / 'cluster.json'}"],
                env=env, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            yield f"127.0.0.1:{port}"
        finally:
            end_all(head)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_an_hour_of_each_stage_takes_no_more_than_its_nodes(address: str, tmp_path: Path) -> None:
    env = os.environ | {"RAY_ADDRESS": address}
    done = subprocess.run([sys.executable, "-c", _STAGES, str(_HOUR), str(tmp_path)], env=env, capture_output=True,
                          text=True, timeout=600)  # fmt: skip
    assert done.returncode == 0, done.stderr + (tmp_path / "head.log").read_text()
    told = json.loads(done.stdout)
    stages = {stage: (began, ended) for stage, began, ended in told["stages"]}

    def during(stage: str, kind: int, after: float = 0.0) -> set[int]:
        began, ended = stages[stage]
        return {seen[kind] for seen in told["seen"] if began + after < seen[0] < ended}

    cpu, gpu = 1, 2
    assert during("tile", cpu) == {1}
    assert during("tile", gpu) == {0}
    assert during("pretrain", gpu) == {2}
    assert during("pretrain", cpu, after=_HOUR / 2) == {0}  # it went when it was idle
    assert during("tune", gpu) == {2}
    assert during("tune", cpu) == {0}
    times = [seen[0] for seen in told["seen"]]
    idle = yaml.safe_load((_ROOT / "cluster.yaml").read_text())["idle_timeout_minutes"] / 60  # hours
    hours = {}
    for kind, nodes, work in ((cpu, 1, 1), (gpu, 2, 2)):
        steps = zip(times, times[1:], told["seen"], strict=False)
        lived = sum((b - a) * seen[kind] for a, b, seen in steps) / nodes
        # What processes take to start, and the autoscaler to look again, are seconds in a study of hours as well.
        hours[kind] = work + idle + (lived - (work + idle) * _HOUR) / 3600
        print(f"{'GPU' if kind == gpu else 'CPU'} nodes lived {lived:.1f} s each for {work} x {_HOUR:.0f} s of work")
    print(f"node-hours: {hours[cpu]:.2f} of the CPU node, {hours[gpu]:.2f} of each GPU node")
    assert hours[gpu] <= 2.1
    assert hours[cpu] <= 1.1
    # What the run itself counted: it looks every ten seconds, at nodes that it does not outlive.
    counted = re.search(r"node-hours \(cpu ([\d.]+), gpu ([\d.]+), head [\d.]+\)", done.stderr)
    assert counted, done.stderr
    for kind, said in zip((cpu, gpu), counted.groups(), strict=True):
        steps = zip(times, times[1:], told["seen"], strict=False)
        assert float(said) * 3600 == pytest.approx(sum((b - a) * seen[kind] for a, b, seen in steps), abs=25)


def test_where_gpu_nodes_are_asked_for_no_pool_is_kept_to_decode_for_them() -> None:
    assert Compute().team().loader == "auto"
    assert Compute(gpus=2).team().loader == "worker"
    assert Compute(gpus=2, loader="data").team().loader == "data"
