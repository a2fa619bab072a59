"""The patch set that a task is made from, in a folder and in a bucket."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from raysweep.errors import WorkError
from raysweep.storage import Storage
from raysweep.tasks import own_set
from raysweep.tasks.own_set import own_set_folder
from tests.bucket import Bucket, serve_bucket

_FILES = {"manifest.json": b"{}", "slides.parquet": b"slides", "shards/0.parquet": b"a" * 5000, "shards/1.parquet": b""}


@pytest.fixture(scope="module")
def bucket():
    with serve_bucket() as served:
        for name, data in {**_FILES, "overlays/s.jpg": b"none of it"}.items():
            served.put(f"study/patches/tiles/1234/{name}", data)
        yield served


@pytest.fixture
def place(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(own_set, "_using", {})
    return Storage.open(bucket.address("study/patches/tiles/1234"))


def _found(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert own_set_folder(Storage.open(tmp_path / "set")) == tmp_path / "set"


def test_of_a_bucket_there_is_one_copy(place: Storage) -> None:
    folder = own_set_folder(place)
    assert _found(folder) == _FILES
    stamps = {path: path.stat().st_ino for path in folder.rglob("*")}
    assert own_set_folder(place) == folder
    assert {path: path.stat().st_ino for path in folder.rglob("*")} == stamps, "nothing was fetched again"
    (info,) = place.fs.get_file_info([place.path("shards", "0.parquet")])
    assert (folder / "shards/0.parquet").stat().st_mtime_ns == info.mtime_ns


def test_a_part_that_was_left_is_begun_anew(place: Storage) -> None:
    folder = own_set_folder(place)
    folder.rename(folder.with_name("part"))
    (folder.with_name("part") / "shards/0.parquet").write_bytes(b"half")
    assert _found(own_set_folder(place)) == _FILES


def test_copies_go_when_nobody_uses_them(place: Storage, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    slot = own_set_folder(place).parent
    long_ago = time.time() - 90_000
    os.utime(slot, (long_ago, long_ago))
    bucket.put("study/patches/other/1/manifest.json", b"{}")
    other = Storage.open(bucket.address("study/patches/other/1"))
    own_set_folder(other)
    assert slot.exists(), "this process may still read it"
    os.close(own_set._using.pop(slot))
    own_set_folder(other)
    assert not slot.exists()


def test_several_processes_make_one(place: Storage, bucket: Bucket, tmp_path: Path) -> None:
    code = (
        "import sys; from raysweep.storage import Storage; from raysweep.tasks.own_set import own_set_folder; "
        "print(own_set_folder(Storage.open(sys.argv[1])))"
    )
    address, env = bucket.address("study/patches/tiles/1234"), {**os.environ, "TMPDIR": str(tmp_path)}
    started = [
        subprocess.Popen([sys.executable, "-c", code, address], stdout=subprocess.PIPE, text=True, env=env)
        for _ in range(3)
    ]
    (folder,) = {process.communicate()[0].strip() for process in started}
    assert _found(Path(folder)) == _FILES


def test_what_is_not_there_is_said(place: Storage, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.put("study/patches/half/1/shards/0.parquet", b"a")
    with pytest.raises(WorkError, match=r"half/1: is no complete patch set; `raysweep tile` of its study makes it"):
        own_set_folder(Storage.open(bucket.address("study/patches/half/1")))
    monkeypatch.setattr(own_set, "_SPARE", 1e15)
    with pytest.raises(WorkError, match=r"GB on the disk of .* are free; make room, or set TMPDIR to a larger disk"):
        own_set_folder(place)
