import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from raysweep.errors import RequestError, StorageError, WorkError
from raysweep.lease import holders, lease, sharing
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


@pytest.fixture(autouse=True)
def _nobody_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysweep.exclusive._seen", {})


def test_a_second_run_is_told_who_holds_it_and_a_dead_one_is_taken_over(tmp_path: Path) -> None:
    folder = Storage.open(tmp_path)
    process = subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    with pytest.raises(RequestError, match=f"process {process.pid} on"), lease(folder):
        pass
    process.kill()  # no chance to release it
    process.wait()
    assert not holders(folder)
    with lease(folder):
        assert holders(folder)
    assert not folder.exists("lease.json")


def test_another_hosts_lease_counts_until_it_falls_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Storage.open(tmp_path)
    folder.write_json({**_THERE, "beat": time.time() - 30}, "lease.json")
    with pytest.raises(RequestError, match="elsewhere"), lease(folder):
        pass
    monkeypatch.setattr("raysweep.exclusive._STALE_SECONDS", 0.5)
    folder.write_json({**_THERE, "token": "u", "beat": time.time() - 90}, "lease.json")
    with lease(folder):
        assert json.loads((tmp_path / "lease.json").read_text())["host"] != "elsewhere"


def test_the_lease_is_released_after_an_error(tmp_path: Path) -> None:
    folder = Storage.open(tmp_path)
    with pytest.raises(ZeroDivisionError), lease(folder):
        raise ZeroDivisionError
    assert not holders(folder)


_RACE = """
import os, random, sys, time
from pathlib import Path
from raysweep import exclusive
from raysweep import lease as lease_of
from raysweep.errors import RequestError
from raysweep.lease import lease
from raysweep.stopping import stoppable
from raysweep.storage import Storage
exclusive._STALE_SECONDS = lease_of._LOOK_SECONDS = 0.01
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
    assert sum(held) >= 3
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
    monkeypatch.setattr("raysweep.exclusive._SETTLE_SECONDS", 0.5)
    monkeypatch.setattr("raysweep.exclusive._STALE_SECONDS", 2.0)
    with serve_bucket() as bucket:
        folder = Storage.open(bucket.address("study"))
        if dead:
            folder.write_json(_THERE | {"beat": time.time() - 90}, "lease.json")
        assert _hold_at_once(folder, 4) == ["held", "refused", "refused", "refused"]
        assert not holders(folder)
        assert folder.names("lease-wanted") == []


@pytest.mark.parametrize("torn", ["", "{", "[]", '{"host": "x"}'])
def test_a_lease_that_a_crash_tore_is_taken_over(torn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysweep.exclusive._BROKEN_SECONDS", 0.2)
    file = tmp_path / "lease.json"
    file.write_text(torn)
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


_SHARE = """
import sys, time
from pathlib import Path
from raysweep.lease import sharing
from raysweep.storage import Storage
home, n = Storage.open(sys.argv[1]), int(sys.argv[2])
with sharing(home) as claims:
    time.sleep(max(0, float(sys.argv[3]) - time.time()))
    for number in range(n):
        piece = home.at(f"piece{number}")
        if claims.take(piece):
            if not piece.exists("made"):
                piece.write_bytes(str(number).encode(), f"by-{claims._mine['pid']}")
                time.sleep(0.002)
                piece.write_bytes(b"", "made")
            claims.release(piece)
    if sys.argv[4] == "hangs":
        assert claims.take(home.at("last"))
        print("has it", flush=True)
        time.sleep(60)
"""


def _share(folder: Path, n: int, start: float = 0.0, end: str = "ends") -> subprocess.Popen:
    words = [sys.executable, "-c", _SHARE, str(folder), str(n), str(start), end]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def test_several_share_the_work_of_a_folder_and_each_piece_is_made_once(tmp_path: Path) -> None:
    start = time.time() + 1.5
    assert [process.wait() for process in [_share(tmp_path, 40, start) for _ in range(3)]] == [0, 0, 0]
    assert len(list(tmp_path.glob("piece*/made"))) == 40
    assert len(list(tmp_path.glob("piece*/by-*"))) == 40
    assert [path.name for path in (tmp_path / "sharing").rglob("*.json")] == []


def test_what_a_dead_one_was_at_is_free_and_what_a_living_one_is_at_is_not(tmp_path: Path) -> None:
    folder = Storage.open(tmp_path)
    process = _share(tmp_path, 0, end="hangs")
    assert process.stdout
    assert process.stdout.readline() == "has it\n"
    last, told = folder.at("last"), list[str]()
    with sharing(folder) as claims:
        assert not claims.take(last)
        assert [entry["pid"] for entry in claims.others().values()] == [process.pid]
        threading.Timer(0.3, process.kill).start()  # no chance to say that it goes
        with claims.turn(last, told.append):
            process.wait()
            assert claims.others() == {}
    assert told == [f"process {process.pid} on {os.uname().nodename}"]
    assert not holders(folder)
    with sharing(folder):  # who comes after the dead clears away what they left
        assert len(folder.names("sharing")) == 2


def test_what_ended_the_work_is_told_and_not_that_its_claim_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, piece = Storage.open(tmp_path), Storage.open(tmp_path / "piece")

    def away(self: Storage, *parts: str) -> None:
        raise StorageError(None, f"{self.path(*parts)}: cannot be removed")

    with sharing(folder) as claims, monkeypatch.context() as storage:
        storage.setattr(Storage, "remove", away)
        with pytest.raises(WorkError, match="the disk is full"), claims.turn(piece):
            raise WorkError("the disk is full")
        with pytest.raises(StorageError, match="cannot be removed"), claims.turn(piece):
            pass


def test_alone_and_together_exclude_each_other(tmp_path: Path) -> None:
    folder = Storage.open(tmp_path)
    with sharing(folder), sharing(folder):
        with pytest.raises(RequestError, match="already being run by process"), lease(folder):
            pass
        assert [entry["pid"] for entry in holders(folder)] == [os.getpid()] * 2
    with lease(folder), pytest.raises(RequestError, match="already being run by process"), sharing(folder):
        pass
    assert not holders(folder)


def test_one_that_was_away_so_long_that_its_work_was_taken_over_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A laptop that slept, of another host than the one that went on."""
    monkeypatch.setattr("raysweep.lease._BEAT_SECONDS", 0.02)
    folder = Storage.open(tmp_path)

    def sleep() -> None:
        with stoppable(), sharing(folder) as claims:
            assert claims.take(folder.at("piece"))
            claims._beaten = time.time() - 3600
            time.sleep(0.2)  # nobody has taken it over: nothing is lost
            [name] = [name for name in folder.names("sharing", "claims") if name.endswith(".json")]
            folder.at("sharing", "claims").write_json(_THERE | {"beat": time.time(), "what": "piece"}, name)
            for _ in range(100):
                claims._beaten = time.time() - 3600  # again where a beat was under way
                time.sleep(0.05)

    with pytest.raises(WorkError, match="another one has taken its place"):
        sleep()
    assert len(list((tmp_path / "sharing/claims").glob("*.json"))) == 1


def test_pieces_of_work_on_object_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysweep.lease._ARRIVE_SECONDS", 0.05)
    monkeypatch.setattr("raysweep.exclusive._SETTLE_SECONDS", 0.1)
    with serve_bucket() as bucket:
        folder = Storage.open(bucket.address("study"))
        with sharing(folder) as one:
            assert one.take(folder.at("a"))  # nobody else is there
            with sharing(folder) as two:
                assert not two.take(folder.at("a"))
                assert two.take(folder.at("b"))
                assert not one.take(folder.at("b"))
                assert [*one.others()] == [folder.path("b")]
                one.release(folder.at("a"))
                assert two.take(folder.at("a"))
        assert [name for name in folder.names("sharing") if name.endswith(".json")] == []


def _beats(folder: Storage, name: str, entry: dict, ahead: float, end: threading.Event) -> threading.Thread:
    """A process of another machine, whose clock is `ahead` by so many seconds, beats until `end`."""

    def beat() -> None:
        while not end.is_set():
            folder.write_json({**entry, "beat": time.time() + ahead}, name)
            end.wait(0.1)

    thread = threading.Thread(target=beat)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("ahead", "host"),
    [(-3600.0, "elsewhere"), (3600.0, os.uname().nodename)],  # two machines may have one name
)
def test_clocks_and_names_of_other_machines_may_be_wrong(
    ahead: float, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysweep.exclusive._STALE_SECONDS", 1.0)
    monkeypatch.setattr("raysweep.lease._LOOK_SECONDS", 0.05)
    folder, end = Storage.open(tmp_path), threading.Event()
    there = _THERE | {"host": host, "token": f"t{ahead}{host}", "process": "other-boot pid:[1] 7"}
    thread = _beats(folder, "lease.json", there, ahead, end)
    try:
        for _ in range(3):
            time.sleep(0.5)
            with pytest.raises(RequestError, match="already being run"), lease(folder):
                pass
            assert [entry["host"] for entry in holders(folder)] == [host]
    finally:
        end.set()
        thread.join()
    began = time.monotonic()
    with pytest.raises(RequestError), lease(folder):  # it was seen to beat a moment ago
        pass
    time.sleep(max(0, began + 1.1 - time.monotonic()))
    with lease(folder):
        assert folder.read_json("lease.json")["token"] != there["token"]


def test_who_shares_with_a_machine_of_another_clock_leaves_its_work_alone_until_it_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysweep.exclusive._STALE_SECONDS", 1.0)
    monkeypatch.setattr("raysweep.lease._LOOK_SECONDS", 0.05)
    folder, end = Storage.open(tmp_path), threading.Event()
    there, told = _THERE | {"token": "far"}, list[str]()
    claims_of_it = folder.at("sharing", "claims")
    thread = _beats(folder.at("sharing"), "far.json", there, -3600, end)
    try:
        while not folder.exists("sharing", "far.json"):
            time.sleep(0.01)
        with sharing(folder, told.append) as claims:
            assert claims.take(folder.at("piece"))
            [name] = [n for n in claims_of_it.names() if n.endswith(".json")]
            claims.release(folder.at("piece"))
            claims_of_it.write_json({**there, "beat": 0, "what": folder.path("piece")}, name)
            for _ in range(5):
                assert not claims.take(folder.at("piece"))
                time.sleep(0.3)
            end.set()
            thread.join()
            with claims.turn(folder.at("piece")):
                assert claims.fellows() == []
    finally:
        end.set()
    assert told == ["process 1 on elsewhere"]
