import io
import json
import logging
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pytest
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given
from hypothesis import strategies as st

from raysweep.addresses import is_address, join, locate, shown
from raysweep.errors import RequestError, StorageError, WorkError
from raysweep.storage import Artefact, Storage, file_identity, fingerprint, shipped
from tests.bucket import serve_bucket
from tests.faulty_bucket import Fault, serve_faulty_bucket

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_written_files_come_back(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path / "study")
    storage.write_json({"a": [1, 2]}, "x", "a.json")
    storage.write_table(pa.table({"n": [1, 2, 3]}), "x", "t.parquet")
    assert storage.read_json("x", "a.json") == {"a": [1, 2]}
    assert storage.read_table("x", "t.parquet").column("n").to_pylist() == [1, 2, 3]
    assert storage.names("x") == ["a.json", "t.parquet"]
    storage.remove("x")
    assert not storage.exists("x")
    assert storage.names("x") == []


def test_another_filesystem_serves_as_well(tmp_path: Path) -> None:
    """Object stores go through pyarrow's stream interface, not through the local disk's rename."""
    fs = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    storage = Storage(fs, "bucket")
    fs.create_dir("bucket/x")
    storage.write_json([1], "x", "a.json")
    assert json.loads((tmp_path / "bucket/x/a.json").read_text()) == [1]
    assert storage.names("x") == ["a.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage.open(tmp_path)
    storage.write_bytes(b"old", "f")

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WorkError, match="No space left"):
        storage.write_bytes(b"new", "f")
    monkeypatch.undo()
    assert storage.read_bytes("f") == b"old"
    assert os.listdir(tmp_path) == ["f"], "no temporary file may stay"


class _Upload(io.BytesIO):
    """A file that appears when it is closed, as objects do; of the word `bad` only the first letter arrives."""

    def __init__(self, path: str, *, completes: bool) -> None:
        super().__init__()
        self._path, self._completes, self._hurt = Path(path), completes, False

    def write(self, data: object) -> int:
        self._hurt = bytes(data) == b"bad"  # type: ignore[call-overload]
        if not self._hurt:
            return super().write(data)  # type: ignore[arg-type]
        super().write(b"b")
        raise OSError("the line is cut")

    def close(self) -> None:
        if not self.closed:
            data = self.getvalue()
            super().close()
            if self._hurt and not self._completes:
                raise OSError("the upload is not complete")
            self._path.write_bytes(data)


@pytest.mark.parametrize(("completes", "left"), [(True, None), (False, b"old")])
def test_a_failed_upload_leaves_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, completes: bool, left: bytes | None
) -> None:
    """Some stores make an object of what has arrived, whatever went wrong; others keep the old one."""
    fs = LocalFileSystem()
    monkeypatch.setattr(fs, "_open", lambda path, mode, **options: _Upload(path, completes=completes))
    storage = Storage(pafs.PyFileSystem(pafs.FSSpecHandler(fs)), str(tmp_path))
    storage.write_bytes(b"old", "f")
    assert (tmp_path / "f").read_bytes() == b"old"
    with pytest.raises(WorkError, match=r"/f: cannot be written \(the line is cut\)$"):
        storage.write_bytes(b"bad", "f")
    assert ((tmp_path / "f").read_bytes() if (tmp_path / "f").exists() else None) == left


def test_storage_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    with pytest.raises(RequestError, match="cannot be written"):
        Storage.open(blocker / "below").check_writable()


def test_an_unknown_address_is_refused() -> None:
    with pytest.raises(RequestError, match="nowhere://x"):
        Storage.open("nowhere://x")


@given(_json)
def test_fingerprint_ignores_key_order(value: object) -> None:
    wrapped = {"b": value, "a": 1}
    assert fingerprint(wrapped) == fingerprint(dict(reversed(wrapped.items())))
    assert fingerprint(wrapped) != fingerprint({"b": value, "a": 2})


def test_an_artefact_is_done_when_its_manifest_matches(tmp_path: Path) -> None:
    home = Storage.open(tmp_path)
    artefact = Artefact(home, {"um": 64.0})
    assert not artefact.done()
    artefact.commit(config={"um": 64.0}, counts={"patches": 3}, timings={"tile_seconds": 1.5})
    assert artefact.done()
    assert artefact.manifest()["inputs"] == {"um": 64.0}
    assert artefact.manifest()["versions"]["numpy"]
    assert not Artefact(home, {"um": 65.0}).done()
    # the same first eight digits are not enough
    other = artefact.manifest() | {"fingerprint": artefact.fingerprint[:8] + "0" * 24}
    artefact.folder.write_json(other, "manifest.json")
    assert not artefact.done()


def test_file_identity_sees_name_size_and_both_ends(tmp_path: Path) -> None:
    data = bytearray(os.urandom(3 * 2**20))
    path = tmp_path / "a.svs"
    path.write_bytes(data)
    before = file_identity(path)
    for position in (0, len(data) - 1):
        changed = bytearray(data)
        changed[position] ^= 1
        path.write_bytes(changed)
        assert file_identity(path)["hash"] != before["hash"]
    path.write_bytes(data)
    assert file_identity(path) == before
    renamed = path.rename(tmp_path / "b.svs")
    assert file_identity(renamed)["name"] == "b.svs"


def test_an_object_has_the_identity_of_the_same_file_on_disk(tmp_path: Path) -> None:
    sizes = {"small.svs": 100, "one [1] #2.svs": 2**20, "ends.svs": 2**20 + 5, "large.svs": 5 * 2**20 // 2}
    with serve_bucket() as bucket:
        for name, size in sizes.items():
            (tmp_path / name).write_bytes(os.urandom(size))
            address = bucket.put(f"a b/{name}", (tmp_path / name).read_bytes())
            assert file_identity(address) == file_identity(tmp_path / name)
            assert file_identity(address + "&allow_bucket_deletion=false") == file_identity(address)
            assert file_identity(tmp_path / name)["name"] == name
        with pytest.raises(OSError, match="none"):
            file_identity(bucket.address("none.svs"))


def test_a_small_object_is_written_by_one_request() -> None:
    log, asked = logging.getLogger("werkzeug"), []
    handler = logging.Handler()
    handler.emit = lambda record: asked.append(record.getMessage().split('"')[1].split()[0])  # type: ignore[method-assign]
    with serve_bucket() as bucket:
        for address in (bucket.address("out"), bucket.address("out", allow_delayed_open="false")):
            folder = Storage.open(address)
            log.addHandler(handler)
            level = log.level
            log.setLevel(logging.INFO)
            folder.write_json({"a": 1}, "b", "c.json")
            log.removeHandler(handler)
            log.setLevel(level)
            assert folder.read_json("b", "c.json") == {"a": 1}
    assert asked == ["PUT", "POST", "PUT", "POST"], "what is asked for in the address stays"


@pytest.mark.parametrize(
    "fault",
    [Fault(503), Fault(cut="asked"), Fault(cut="half"), Fault(cut="answered"), Fault(truncated=True)],
    ids=["503", "asked", "half", "answered", "truncated"],
)
def test_a_storage_that_is_away_for_a_while_is_waited_for(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysweep.retry._WAIT_SECONDS", 0.01)
    table = pa.table({"n": list(range(1000)), "m": ["x" * 20] * 1000})
    with serve_faulty_bucket() as bucket:
        folder = Storage.open(bucket.front.address("out"))
        chance = random.Random(0)
        bucket.rule = lambda ask: fault if chance.random() < 0.4 else None
        folder.write_json({"a": 1}, "b", "c.json")
        folder.write_table(table, "b", "t.parquet")
        assert folder.names("b") == ["c.json", "t.parquet"]
        assert folder.read_json("b", "c.json") == {"a": 1}
        assert folder.read_table("b", "t.parquet", columns=["n"]) == table.select(["n"])
        with folder.open_mapped("b", "t.parquet") as file:
            assert file.read(4) == b"PAR1"
        with pytest.raises(FileNotFoundError):
            folder.read_bytes("none")
        folder.remove("b")
        assert not folder.exists("b")
        assert bucket.happened.total() > 3


@pytest.mark.parametrize(
    ("status", "said"),
    [(403, "ACCESS_DENIED"), (507, "HTTP status 507"), (503, "HTTP status 503|SLOW_DOWN")],
)
def test_a_storage_that_stays_away_is_told_in_a_sentence(
    status: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysweep.retry._PATIENCE_SECONDS", 0.5)
    with serve_faulty_bucket() as bucket:
        folder = Storage.open(bucket.front.address("out"))
        folder.write_json([1], "a.json")
        bucket.rule = lambda ask: Fault(status)
        doings: list[tuple[str, Callable[[], Any]]] = [
            ("read", lambda: folder.read_json("a.json")),
            ("written", lambda: folder.write_json([2], "a.json")),
            ("removed", lambda: folder.remove("a.json")),
        ]
        if status == 503:  # the library tries each by itself for 6 s
            del doings[1:]
        for doing, do in doings:
            with pytest.raises(StorageError, match=f"^slides/out/a.json: cannot be {doing} \\(({said})\\)$"):
                do()
        bucket.rule = lambda ask: None
        assert folder.read_json("a.json") == [1]


def test_addresses_and_paths_are_told_apart() -> None:
    assert is_address("s3://bucket/a.svs")
    assert is_address("file:///a.svs")
    assert not any(is_address(path) for path in ("a.svs", "/a.svs", "C:/a.svs", "C://a.svs", "a/s3://b"))


def test_the_name_of_a_file_on_its_filesystem() -> None:
    options = "?scheme=http&endpoint_override=127.0.0.1:9&region=x"
    fs, name = locate(f"s3://bucket/a b/c%20d#[1].svs{options}")
    assert name == "bucket/a b/c d#[1].svs"
    assert locate(f"s3://bucket/other/{options}") == (fs, "bucket/other")
    assert locate(f"s3://bucket{options}")[1] == "bucket"
    assert locate("file:///slides/a%20b")[1] == "/slides/a b"
    assert locate("/slides/a%20b")[1] == "/slides/a%20b"
    assert locate("/")[1] == "/"


@pytest.mark.parametrize(
    ("root", "name", "joined"),
    [
        ("/data", "a/b.svs", "/data/a/b.svs"),
        ("/data", "/far/b.svs", "/far/b.svs"),
        ("/data", "s3://b/a.svs?x=1", "s3://b/a.svs?x=1"),
        ("s3://b/root/?x=1", "sub/a b?%.svs", "s3://b/root/sub/a%20b%3F%25.svs?x=1"),
        ("s3://b?x=1", "a.svs", "s3://b/a.svs?x=1"),
        ("s3://b/root", "../a.svs", "s3://b/a.svs"),
        ("s3://b/root", "/local/a.svs", "/local/a.svs"),
    ],
)
def test_join(root: str, name: str, joined: str) -> None:
    assert join(root, name) == joined


def test_an_address_with_one_slash_makes_no_folder_called_like_it() -> None:
    assert locate("file:/data/a b") == locate("file:///data/a%20b") == (locate("/")[0], "/data/a b")
    for text in ("s3:/bucket/x", "S3:/key:secret@bucket/x"):
        with pytest.raises(RequestError, match=r"^s3:/ begins no address; write s3://bucket/x$"):
            locate(text)
    assert not is_address("C:/data")
    assert not is_address("a:/b")


def test_nobody_is_shown_a_password() -> None:
    assert shown("s3://key:secret@bucket/a%20b.svs?endpoint_override=x") == "s3://bucket/a b.svs"
    assert shown("/a?b.svs") == "/a?b.svs"
    with pytest.raises(RequestError) as caught:
        locate("s3://key:secret@bucket/a.svs?no_such_option=1")
    assert "s3://bucket" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_shipped_folders_are_found() -> None:
    assert list(shipped("datasets").glob("*.yaml"))
    assert list(shipped("search_spaces").glob("*.yaml"))


@pytest.mark.parametrize("name", ["..", "../b", "a/../../b", "a/.."])
def test_what_is_not_below_a_folder_is_not_reached(tmp_path, name):
    """Names that come from a bucket's own files, such as `current` or a journal."""
    (tmp_path / "b").write_bytes(b"{}")
    folder = Storage.open(tmp_path / "a")
    for reach in (
        folder.at,
        folder.exists,
        folder.read_json,
        folder.remove,
        lambda part: folder.write_bytes(b"", part),
    ):
        with pytest.raises(WorkError, match="is not below it"):
            reach(name)
    assert folder.path("a..b", "c/d..") == f"{tmp_path}/a/a..b/c/d.."


def test_a_manifest_keeps_no_password(tmp_path):
    artefact = Artefact(Storage.open(tmp_path), {"init": "s3://KEY:hush@bucket/a.pth", "n": (1, 2)})
    artefact.commit(config={"slides": ["gs://b/x?access_token=hush"]}, counts={}, timings={})
    assert "hush" not in (tmp_path / artefact.fingerprint[:8] / "manifest.json").read_text()
    assert artefact.done()
    assert artefact.manifest()["config"] == {"slides": ["gs://b/x?access_token=…"]}
