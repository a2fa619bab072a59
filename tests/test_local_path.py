"""Paths of this machine, and addresses given in their place."""

import os
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raysweep.addresses import at_home
from raysweep.cli import app
from raysweep.errors import RequestError, WorkError
from raysweep.local_path import local_path, own_temporary, user_folder
from raysweep.storage import Storage


def test_a_path_stays_and_a_file_address_is_one(tmp_path):
    for path in ("a/b", Path("a/b"), "C:/x", Path("a:b/c")):
        assert local_path(path, "--out") == Path(path)
    for address in (f"file://{tmp_path}/a", Path(f"file://{tmp_path}/a")):
        assert local_path(address, "--out") == tmp_path / "a"


def test_the_folder_of_a_user(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert local_path(Path("~/x"), "--out") == Path("/home/me/x")  # `--out=~/x`
    assert [str(at_home(path)) for path in ("~/x", "~", "a/~", "~x.svs")] == ["/home/me/x", "/home/me", "a/~", "~x.svs"]
    for home, says in (
        ("~nosuchuser/x", "no user nosuchuser; write"),
        ("s3://b/x", "RAYSWEEP_HOME s3://b/x: is an addr"),
    ):
        monkeypatch.setenv("RAYSWEEP_HOME", home)
        with pytest.raises(RequestError, match=says):
            user_folder()


def test_a_temporary_folder_of_this_user_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = own_temporary("x")
    assert folder == own_temporary("x") == tmp_path / f"raysweep-x-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o750)
    own_temporary("file").rename(tmp_path / "y")
    Path(tmp_path, f"raysweep-file-{os.getuid()}").write_text("")
    Path(tmp_path, f"raysweep-link-{os.getuid()}").symlink_to(tmp_path / "y")
    for what in ("x", "file", "link"):
        with pytest.raises(WorkError, match="must be a folder that nobody but you can use; remove it, or set TMPDIR"):
            own_temporary(what)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(WorkError, match=r"cannot be used \(No such file or directory\); set TMPDIR"):
        own_temporary("x")


def test_what_no_path_can_be():
    for path, says in (("a\0b", "characters that no path has"), ("\ud800", "characters"), ("K\udce4se", "not UTF-8")):
        with pytest.raises(RequestError, match=says):
            Storage.open(path)
    assert at_home("K\udce4se") == Path("K\udce4se")  # of a slide


@pytest.mark.parametrize("address", ["s3://bucket/a", "gs://bucket/a", "s3://key:secret@bucket/a?region=x"])
def test_another_storage_is_refused_without_its_password(address):
    for given in (address, Path(address)):
        with pytest.raises(RequestError, match=r"^--out (s3|gs)://bucket/a: is an address, and this wants a path") as e:
            local_path(given, "--out")
        assert "secret" not in str(e.value)


@pytest.mark.parametrize(
    "command",
    [
        ["demo", "--out", "ADDRESS"],
        ["export", ".", "--out", "ADDRESS"],
        ["predict", ".", ".", "--out", "ADDRESS"],
        ["predict", ".", ".", "--out", "a.parquet", "--geojson", "ADDRESS"],
        ["datasets", "prepare", "glas-grade", "--data", "ADDRESS"],
        ["plan", "ADDRESS"],
        ["new", "ADDRESS", "--with", "imagenet"],
        ["new", ".", "--with", "imagenet", "--out", "ADDRESS"],
        ["datasets", "new", "ADDRESS"],
        ["datasets", "show", "demo-tissue", "--data", "ADDRESS"],
        ["submit", "demo", "data=/x", "storage=/x", "--out", "ADDRESS"],
        ["plan", "demo", "data=ADDRESS"],
        ["tile", "a.svs", "--um", "56", "--px", "112", "--out", "ADDRESS"],
    ],
)
@pytest.mark.parametrize("address", ["s3://raysweep-none/a", "https://example.org/a"])
def test_every_command_refuses_and_makes_nothing(tmp_path, monkeypatch, command, address):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.svs").write_bytes(b"no slide")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    if command[0] == "tile" and address.startswith("s3"):
        pytest.skip("a bucket that tiling can write to is no error: tests/slides/test_object_storage.py")
    result = CliRunner().invoke(app, [word.replace("ADDRESS", address) for word in command])
    assert isinstance(result.exception, RequestError), result
    assert [path.name for path in tmp_path.iterdir()] == ["a.svs"]
