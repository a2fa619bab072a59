import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raysweep.errors import RequestError
from raysweep.lease import holder, lease
from raysweep.storage import Storage

_HOLD = """
import sys, time
from raysweep.lease import lease
from raysweep.storage import Storage
with lease(Storage.open(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_told_who_holds_it_and_a_dead_one_is_taken_over(tmp_path: Path) -> None:
    folder = Storage.open(tmp_path)
    process = subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    with pytest.raises(RequestError, match=f"process {process.pid} on"), lease(folder):
        pass
    process.kill()  # no chance to release it
    process.wait()
    assert holder(folder) is None
    with lease(folder):
        assert holder(folder)
    assert not folder.exists("lease.json")


def test_another_hosts_lease_counts_until_it_falls_silent(tmp_path: Path) -> None:
    folder = Storage.open(tmp_path)
    there = {"host": "elsewhere", "pid": 1, "process": "boot 1", "since": "then", "token": "t"}
    folder.write_json({**there, "beat": time.time() - 30}, "lease.json")
    with pytest.raises(RequestError, match="elsewhere"), lease(folder):
        pass
    folder.write_json({**there, "beat": time.time() - 90}, "lease.json")
    with lease(folder):
        assert json.loads((tmp_path / "lease.json").read_text())["host"] != "elsewhere"


def test_the_lease_is_released_after_an_error(tmp_path: Path) -> None:
    folder = Storage.open(tmp_path)
    with pytest.raises(ZeroDivisionError), lease(folder):
        raise ZeroDivisionError
    assert holder(folder) is None
