import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from raysweep.errors import RequestError, WorkError
from raysweep.lease import holder, lease
from raysweep.stopping import stoppable
from raysweep.storage import Storage
from tests.bucket import serve_bucket

_THERE = {"host": "elsewhere", "pid": 1, "process": "boot 1", "since": "then", "token": "t"}
_HOLD = """
import sys, time
from raysweep.lease import lease
from raysweep.stopping import stoppable
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
    folder.write_json({**_THERE, "beat": time.time() - 30}, "lease.json")
    with pytest.raises(RequestError, match="elsewhere"), lease(folder):
        pass
    folder.write_json({**_THERE, "beat": time.time() - 90}, "lease.json")
    with lease(folder):
        assert json.loads((tmp_path / "lease.json").read_text())["host"] != "elsewhere"


def test_the_lease_is_released_after_an_error(tmp_path: Path) -> None:
    folder = Storage.open(tmp_path)
    with pytest.raises(ZeroDivisionError), lease(folder):
        raise ZeroDivisionError
    assert holder(folder) is None


_RACE = """
import os, random, sys, time
from pathlib import Path
from raysweep.errors import RequestError
from raysweep.lease import lease
from raysweep.stopping import stoppable
from raysweep.storage import Storage
folder, start = Path(sys.argv[1]), float(sys.argv[2])
time.sleep(max(0, start - time.time()))
held = 0
for _ in range(40):
    try:
        with lease(Storage.open(folder)):
            os.close(os.open(folder / "inside", os.O_CREAT | os.O_EXCL))  # fails where two are in
            held += 1
            time.sleep(random.random() / 1000)
            os.unlink(folder / "inside")
            if random.random() < 0.5:  # the next one finds a dead holder's lease
                there = '{"host": "gone", "pid": 1, "process": "", "token": "%s", "since": "", "beat": 0}' % time.time()
                (folder / "draft").write_text(there)
                os.replace(folder / "draft", folder / "lease.json")
    except RequestError:
        pass
print(held)
"""


def test_of_processes_that_want_it_at_once_or_take_it_over_at_once_one_has_it(tmp_path: Path) -> None:
    start = str(time.time() + 1.5)
    processes = [
        subprocess.Popen([sys.executable, "-c", _RACE, str(tmp_path), start], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    held = [int(p.communicate()[0] or -1) for p in processes]
    assert [p.returncode for p in processes] == [0, 0, 0]
    assert min(held) > 0
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith(".tmp-lease.lock")) in (
        [],
        ["lease.json"],
    )


def _hold_at_once(folder: Storage, n: int) -> list[str]:
    """What each of `n` threads that want the lease at the same time came to."""
    barrier, done = threading.Barrier(n), threading.Event()
    came_to: list[str] = []

    def note(what: str) -> None:
        came_to.append(what)
        if len(came_to) == n:
            done.set()

    def want() -> None:
        barrier.wait()
        try:
            with lease(folder):
                note("held")
                done.wait(30)  # until all others have been refused
        except RequestError as error:
            note("refused" if "being run by process" in str(error) else str(error))

    threads = [threading.Thread(target=want) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(came_to)


@pytest.mark.parametrize("dead", [False, True])
def test_of_several_on_object_storage_one_has_it(dead: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysweep.lease._SETTLE_SECONDS", 0.5)
    with serve_bucket() as bucket:
        folder = Storage.open(bucket.address("study"))
        if dead:
            folder.write_json(_THERE | {"beat": time.time() - 90}, "lease.json")
        assert _hold_at_once(folder, 4) == ["held", "refused", "refused", "refused"]
        assert holder(folder) is None
        assert folder.names("lease-wanted") == []


@pytest.mark.parametrize("torn", ["", "{", "[]", '{"host": "x"}'])
def test_a_lease_that_a_crash_tore_is_taken_over(torn: str, tmp_path: Path) -> None:
    file = tmp_path / "lease.json"
    file.write_text(torn)
    os.utime(file, (time.time() - 10,) * 2)
    with lease(Storage.open(tmp_path)):
        assert json.loads(file.read_text())["pid"] == os.getpid()


def test_one_that_has_lost_it_stops_its_work_and_leaves_the_new_holder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysweep.lease._BEAT_SECONDS", 0.02)
    folder = Storage.open(tmp_path)
    other = _THERE | {"beat": time.time()}

    def lose_it() -> None:
        with stoppable(), lease(folder):  # a Ray Tune of another test may have left its handler of Ctrl-C behind
            for _ in range(200):
                folder.write_json(other, "lease.json")  # again where a beat had read the file just before
                time.sleep(0.05)

    with pytest.raises(WorkError, match="another one has taken its place"):
        lose_it()
    assert folder.read_json("lease.json") == other
