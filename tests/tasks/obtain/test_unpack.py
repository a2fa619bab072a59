"""Archives that are as they should be, and those that are not."""

import errno
import gzip
import io
import stat
import tarfile
import threading
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raysweep.errors import WorkError
from raysweep.tasks.obtain import unpack as module
from raysweep.tasks.obtain.fetch import GivenUpError
from raysweep.tasks.obtain.unpack import unpack

FILES = {"set/a/1.png": b"one", "set/a/2.png": b"two" * 1000, "set/b/ä.png": b""}


def _zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def _tar(path, files):
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def _unpack(archive, folder, *, most_bytes=None, stop=None, kind=None):
    kind = kind or ("zip" if archive.suffix == ".zip" else "tar")
    return unpack(archive, kind, folder / "root", folder / "work", most_bytes=most_bytes, tell=lambda n: None,
                  stop=stop or threading.Event())  # fmt: skip


def _found(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_all_files_come_out_and_join_what_is_there(name, tmp_path):
    make = _zip if name == "x.zip" else _tar
    (tmp_path / "root/set/a").mkdir(parents=True)
    (tmp_path / "root/set/a/0.png").write_bytes(b"mine")
    (tmp_path / "root/set/a/1.png").write_bytes(b"half of it")
    assert _unpack(make(tmp_path / name, FILES), tmp_path) == 3
    assert _found(tmp_path / "root") == {**FILES, "set/a/0.png": b"mine"}
    assert not (tmp_path / "work/unpacking").exists()


def test_a_single_compressed_file(tmp_path):
    path = tmp_path / "labels.h5.gz"
    path.write_bytes(gzip.compress(b"data" * 100))
    assert _unpack(path, tmp_path, kind="gz") == 1
    assert _found(tmp_path / "root") == {"labels.h5": b"data" * 100}


_PARTS = st.lists(st.sampled_from(["a", "b.png", "..", ".", "", "C:", "\\..\\c"]), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=_PARTS, absolute=st.booleans(), kind=st.sampled_from(["zip", "tar"]))
def test_nothing_is_ever_written_outside(parts, absolute, kind, tmp_path_factory):
    folder = tmp_path_factory.mktemp("outside")
    name = ("/" if absolute else "") + "/".join(parts)
    if not name:
        return
    archive = (_zip if kind == "zip" else _tar)(folder / f"x.{kind}", {"fine.png": b"fine", name: b"bad"})
    try:
        _unpack(archive, folder)
    except WorkError:
        assert not (folder / "root").exists()
    outside = {p.name for p in folder.iterdir()} - {"root", "work", f"x.{kind}"}
    assert not outside
    assert not list((folder / "work").rglob("*"))


@pytest.mark.parametrize("name", ["../out.png", "a/../../out.png", "/tmp/out.png", "..\\out.png", "C:/out.png"])
def test_a_member_that_leaves_its_folder_is_named(name, tmp_path):
    for archive in (_zip(tmp_path / "x.zip", {"a.png": b"", name: b"x"}), _tar(tmp_path / "x.tar", {name: b"x"})):
        with pytest.raises(WorkError, match=r"its member .*out\.png' would lie outside of the folder"):
            _unpack(archive, tmp_path)
        assert not (tmp_path / "root").exists()


def test_links_and_devices_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        info = zipfile.ZipInfo("etc")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        link = tarfile.TarInfo("etc")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
    with tarfile.open(tmp_path / "y.tar", "w") as archive:
        pipe = tarfile.TarInfo("pipe")
        pipe.type = tarfile.FIFOTYPE
        archive.addfile(pipe)
    for name in ("x.zip", "x.tar", "y.tar"):
        with pytest.raises(WorkError, match="is a link or a device; unpack it yourself"):
            _unpack(tmp_path / name, tmp_path)
    assert not (tmp_path / "root").exists()


def test_a_bomb_is_stopped_at_its_bound(tmp_path, monkeypatch):
    bomb = _zip(tmp_path / "x.zip", {"zeros": bytes(30 * 2**20)})
    monkeypatch.setattr(module, "_SMALL", 2**20)
    with pytest.raises(WorkError, match=r"holds more than [\d,]+ bytes in [\d,]+, as a decompression bomb does"):
        _unpack(bomb, tmp_path)
    assert not (tmp_path / "root").exists()
    assert not (tmp_path / "work/unpacking").exists()
    assert _unpack(bomb, tmp_path, most_bytes=30 * 2**20) == 1  # the card knows better
    path = tmp_path / "y.gz"
    path.write_bytes(gzip.compress(bytes(30 * 2**20)))
    with pytest.raises(WorkError, match="decompression bomb"):
        _unpack(path, tmp_path, kind="gz")
    monkeypatch.setattr(module, "_MOST_MEMBERS", 2)
    with pytest.raises(WorkError, match="holds more than 2 members"):
        _unpack(_zip(tmp_path / "z.zip", FILES), tmp_path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p.write_bytes(b"<html>no archive</html>"), "it is a web page and not the file itself"),
        (lambda p: _zip(p, {}), "holds no file"),
        (lambda p: p.write_bytes(_zip(p, FILES).read_bytes()[:-60]), "is damaged, or no such archive"),
    ],
)
def test_what_is_no_archive_is_a_sentence(make, words, tmp_path):
    make(tmp_path / "x.zip")
    with pytest.raises(WorkError, match=words):
        _unpack(tmp_path / "x.zip", tmp_path)
    assert not (tmp_path / "root").exists()


def test_a_damaged_member_is_found_by_its_sum(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png", b"the bytes of a picture")
    data = (tmp_path / "x.zip").read_bytes()
    (tmp_path / "x.zip").write_bytes(data.replace(b"picture", b"pikture"))
    with pytest.raises(WorkError, match="is damaged"):
        _unpack(tmp_path / "x.zip", tmp_path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png", b"1")
        archive.writestr("a.png", b"2")
    with pytest.raises(WorkError, match=r"holds a\.png twice"):
        _unpack(tmp_path / "x.zip", tmp_path)


def test_a_stop_and_a_full_disk_leave_nothing_half_done(tmp_path, monkeypatch):
    archive, stop = _zip(tmp_path / "x.zip", FILES), threading.Event()
    stop.set()
    with pytest.raises(GivenUpError):
        _unpack(archive, tmp_path, stop=stop)

    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(module, "_move", full)
        with pytest.raises(WorkError, match="no space is left on the disk for what it holds; the archive is kept"):
            _unpack(archive, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "work") == ["x.zip"]
    assert _unpack(archive, tmp_path) == 3
