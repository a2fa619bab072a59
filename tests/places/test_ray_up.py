"""`ray up` of a file of `raysweep cluster local`, really: two machines inside this one, a job, `ray down`."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

_ALONE = ["unshare", "--pid", "--fork", "--mount-proc", "--mount", "--net", "--uts", "--kill-child"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short path: sockets."""
    pytest.importorskip("aiohttp_cors", reason="the dashboard needs pip install 'ray[default]'")
    for program in ("unshare", "nsenter", "ip", "mount", "rsync", "ssh", "/usr/sbin/sshd"):
        if shutil.which(program) is None:
            pytest.skip(f"two machines inside this one: there is no {program} here")
    if (
        os.geteuid()
        or subprocess.run([*_ALONE, "ip", "link", "add", "cable", "type", "veth"], capture_output=True).returncode
    ):
        pytest.skip("two machines inside this one: only root may have namespaces and networks of its own")
    with tempfile.TemporaryDirectory(prefix="rs-", dir="/tmp", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_machines_of_your_own_from_up_to_down(folder: Path) -> None:
    alone = subprocess.run([*_ALONE, "ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "ray" not in alone.replace("array", ""), alone  # what `ray down` would end
    done = subprocess.run([*_ALONE, sys.executable, "-m", "tests.places.two_machines", str(folder)],
                          capture_output=True, text=True, cwd=Path(__file__).parents[2])  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["alone_code"] == 3  # of the mini study one slide has no file
    assert told["up_code"] == 0, told["said"]
    assert told["installed"] == [
        f"pip install --python /root/env/bin/python -e /root/raysweep ray[default]=={ray.__version__}"
    ]
    assert told["job_code"] == 3, told["said"]
    assert told["nodes"][-1] == "2 nodes, 2 CPUs", told["said"]
    assert told["report"]
    assert told["same"]
    assert told["dashboard"] == [401, 200]
    assert told["again_code"] == 3
    assert told["down_code"] == 0
    assert told["left"] == []
    print({key: told[key] for key in told if key.endswith("_seconds")})
    print(told["said"])
