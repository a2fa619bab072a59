"""Copies of remote slides: shared by the processes of a node, bounded, and safe from kills."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import openslide
import pytest

from raysweep.errors import WorkError
from raysweep.slides import stage
from raysweep.slides.stage import staged
from tests.bucket import Bucket, Gate, serve_bucket

MIB = 2**20

# Says where the copy is and which file it is, and keeps it in use until told to end.
USER = """
import os, resource, sys
from pathlib import Path
from raysweep.errors import WorkError
from raysweep.slides.stage import staged
source, folder, limit, largest = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
if largest:
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
print("ready", flush=True)
try:
    with staged(source, folder=folder, limit_bytes=limit) as path:
        print(path.stat().st_ino, path.read_bytes().count(b"x"), flush=True)
        sys.stdin.readline()
except WorkError as error:
    print("failed:", error, flush=True)
"""


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with serve_bucket() as served:
        yield served


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen]]:
    started: list[subprocess.Popen] = []

    def run(source: str, folder: Path, limit: int = 100 * MIB, largest: int = 0) -> subprocess.Popen:
        command = [sys.executable, "-c", USER, source, str(folder), str(limit), str(largest)]
        user = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(user)
        assert user.stdout
        assert user.stdout.readline() == "ready\n"
        return user

    yield run
    for user in started:
        user.kill()
        user.communicate()


def copies(folder: Path) -> list[str]:
    """What lies in the cache besides locks: relative names, the slots' own names left out."""
    files = (path.relative_to(folder).parts for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return sorted("/".join(parts[1:]) for parts in files)


def wait_for(happened: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end, "nothing happened for a minute"
        time.sleep(0.02)


def test_a_local_slide_stays_where_it_is(tmp_path):
    (tmp_path / "a b.svs").write_bytes(b"x")
    for source in (str(tmp_path / "a b.svs"), f"file://{tmp_path}/a%20b.svs"):
        with staged(source, folder=tmp_path / "cache", limit_bytes=0) as path:
            assert path == tmp_path / "a b.svs"
    assert not (tmp_path / "cache").exists()


def test_a_remote_slide_is_copied_once(bucket, tmp_path):
    source = bucket.put("once/a b.svs", b"x" * 1000)
    seen = set()
    for _ in range(2):
        with staged(source, folder=tmp_path, limit_bytes=MIB) as path:
            assert (path.name, path.read_bytes()) == ("a b.svs", b"x" * 1000)
            seen.add(path.stat().st_ino)
    assert len(seen) == 1


def test_a_slide_that_has_changed_is_copied_again(bucket, tmp_path):
    for data in (b"old", b"newer"):
        with staged(bucket.put("changing.svs", data), folder=tmp_path, limit_bytes=MIB) as path:
            assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("opened", "others", "left"),
    [
        ("s.mrxs", ["s/Slidedat.ini", "s/deep/Data0.dat"], ["t/Slidedat.ini", "t.mrxs"]),
        ("1.dcm", ["2.dcm", "3.DCM"], ["note.txt"]),
        ("slide", ["slide/1", "slide/2"], ["slide2/1"]),
    ],
)
def test_what_belongs_to_a_slide_comes_with_it(bucket, tmp_path, opened, others, left):
    home = f"parts-{opened}"
    for name in (*others, *left, *([opened] if "." in opened else [])):
        bucket.put(f"{home}/{name}", name.encode())
    with staged(bucket.address(f"{home}/{opened}"), folder=tmp_path, limit_bytes=MIB) as path:
        assert path.name == opened
        expected = {*others, *([opened] if "." in opened else [])}
        found = {str(file.relative_to(path.parent)) for file in path.parent.rglob("*") if file.is_file()}
        assert found == expected
        assert all((path.parent / name).read_text() == name for name in found)


def test_two_processes_share_one_copy(bucket, tmp_path, start):
    size = 20 * MIB
    bucket.put("shared.svs", b"x" * size)
    gate = Gate(bucket.port, most=MIB)
    source = Bucket(gate.port).address("shared.svs")
    users = [start(source, tmp_path) for _ in range(2)]
    wait_for(lambda: gate.passed > MIB)
    time.sleep(0.5)  # both are waiting now, one for bytes and one for the other
    gate.open.set()
    told = [user.stdout.readline().split() for user in users]
    assert told[0] == told[1]
    assert told[0][1] == str(size)
    assert size <= gate.passed < 1.2 * size
    gate.close()


def test_the_longest_unused_goes_first(bucket, tmp_path):
    a, b, c = (bucket.put(f"lru/{name}.svs", b"x" * MIB) for name in "abc")
    for source in (a, b, a, c):
        with staged(source, folder=tmp_path, limit_bytes=5 * MIB // 2):
            pass
    assert copies(tmp_path) == ["whole/a.svs", "whole/c.svs"]


def test_a_slide_in_use_stays_and_whoever_needs_its_space_waits(bucket, tmp_path):
    a, b, c = (bucket.put(f"use/{name}.svs", b"x" * MIB) for name in "abc")
    events = []

    def use_c() -> None:
        with staged(c, folder=tmp_path, limit_bytes=2 * MIB):
            events.append("c")

    with staged(b, folder=tmp_path, limit_bytes=2 * MIB):
        with staged(a, folder=tmp_path, limit_bytes=2 * MIB) as path:
            waiting = threading.Thread(target=use_c)
            waiting.start()
            time.sleep(0.5)
            assert path.read_bytes() == b"x" * MIB
            events.append("a")
        waiting.join(60)
    assert events == ["a", "c"]
    assert copies(tmp_path) == ["whole/b.svs", "whole/c.svs"]


def test_space_that_never_comes_is_an_error(bucket, tmp_path, monkeypatch):
    a, b = (bucket.put(f"never/{name}.svs", b"x" * MIB) for name in "ab")
    monkeypatch.setattr(stage, "_PATIENCE_SECONDS", 0.3)
    with (
        staged(a, folder=tmp_path, limit_bytes=3 * MIB // 2),
        pytest.raises(WorkError, match=r"b\.svs has waited .* where slides in use take most of 1.5 MiB"),
        staged(b, folder=tmp_path, limit_bytes=3 * MIB // 2),
    ):
        pass


def test_a_slide_larger_than_all_the_space_is_refused(bucket, tmp_path):
    source = bucket.put("large.svs", b"x" * MIB)
    with (
        pytest.raises(WorkError, match=r"s3://slides/large\.svs takes 1 MiB and slides may take 0.5 MiB on the disk"),
        staged(source, folder=tmp_path / "cache", limit_bytes=MIB // 2),
    ):
        pass
    assert not (tmp_path / "cache").exists()


def test_a_kill_in_the_middle_of_a_copy(bucket, tmp_path, start):
    size = 20 * MIB  # three pieces: the second is held up
    bucket.put("killed.svs", b"x" * size)
    gate = Gate(bucket.port, most=10 * MIB)
    source = Bucket(gate.port).address("killed.svs")
    user = start(source, tmp_path)
    wait_for(lambda: gate.passed > 10 * MIB and copies(tmp_path))
    assert copies(tmp_path) == ["part/killed.svs"]
    user.send_signal(signal.SIGKILL)
    user.wait()
    gate.open.set()
    with staged(source, folder=tmp_path, limit_bytes=100 * MIB) as path:
        assert path.read_bytes() == b"x" * size
    assert copies(tmp_path) == ["whole/killed.svs"]
    gate.close()


def test_a_half_copy_of_a_killed_process_makes_room(bucket, tmp_path, start):
    bucket.put("half.svs", b"x" * 20 * MIB)
    other = bucket.put("other.svs", b"x" * MIB)
    gate = Gate(bucket.port, most=10 * MIB)
    user = start(Bucket(gate.port).address("half.svs"), tmp_path, limit=20 * MIB)
    wait_for(lambda: gate.passed > 10 * MIB and copies(tmp_path))
    user.send_signal(signal.SIGKILL)
    user.wait()
    with staged(other, folder=tmp_path, limit_bytes=20 * MIB):
        assert copies(tmp_path) == ["whole/other.svs"]
    gate.close()


def test_a_killed_user_holds_nothing(bucket, tmp_path, start):
    a, b = (bucket.put(f"user/{name}.svs", b"x" * MIB) for name in "ab")
    user = start(a, tmp_path, limit=MIB)
    assert user.stdout.readline().split()[1] == str(MIB)
    user.send_signal(signal.SIGKILL)
    user.wait()
    with staged(b, folder=tmp_path, limit_bytes=MIB):
        assert copies(tmp_path) == ["whole/b.svs"]


def test_a_kill_in_the_middle_of_a_removal(bucket, tmp_path):
    a, b = (bucket.put(f"gone/{name}.svs", b"x" * MIB) for name in "ab")
    with staged(a, folder=tmp_path, limit_bytes=MIB) as path:
        pass
    slot = path.parent.parent
    slot.rename(slot.with_name(".gone-0123"))  # what a process that is killed then leaves
    with staged(b, folder=tmp_path, limit_bytes=MIB):
        assert copies(tmp_path) == ["whole/b.svs"]


def test_a_copy_that_cannot_be_written_leaves_nothing(bucket, tmp_path, start):
    source = bucket.put("unwritten.svs", b"x" * 2 * MIB)
    user = start(source, tmp_path, largest=MIB)
    assert "failed: s3://slides/unwritten.svs cannot be copied to" in user.stdout.readline()
    assert copies(tmp_path) == []
    with staged(source, folder=tmp_path, limit_bytes=2 * MIB) as path:
        assert path.stat().st_size == 2 * MIB


def test_a_slide_that_is_not_there(bucket, tmp_path):
    with (
        pytest.raises(WorkError, match=r"no such file: s3://slides/none\.svs$"),
        staged(bucket.address("none.svs"), folder=tmp_path, limit_bytes=MIB),
    ):
        pass


def test_a_storage_that_is_not_there(tmp_path):
    with (
        pytest.raises(WorkError, match=r"s3://slides/a\.svs cannot be reached") as caught,
        staged(Bucket(1).address("a.svs"), folder=tmp_path, limit_bytes=MIB),
    ):
        pass
    assert "hush" not in str(caught.value)


def test_the_folder_is_the_users_own_by_default(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(stage.tempfile, "gettempdir", lambda: str(tmp_path))
    with staged(bucket.put("default.svs", b"x"), limit_bytes=MIB) as path:
        cache = tmp_path / f"raysweep-slides-{os.getuid()}"
        assert path.is_relative_to(cache)
        assert cache.stat().st_mode & 0o777 == 0o700


def test_a_real_slide_opens_from_its_copy(bucket, tmp_path, test_data):
    real = test_data / "wsi" / "CMU-1-Small-Region.svs"
    source = bucket.put("wsi/CMU-1-Small-Region.svs", real.read_bytes())
    with (
        staged(source, folder=tmp_path, limit_bytes=100 * MIB) as path,
        openslide.OpenSlide(path) as copy,
        openslide.OpenSlide(real) as original,
    ):
        box = (500, 700), 0, (256, 256)
        assert copy.dimensions == original.dimensions
        assert copy.read_region(*box).tobytes() == original.read_region(*box).tobytes()
