"""Paths of this machine, and addresses given in their place."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from raysweep.addresses import at_home
from raysweep.cli import app
from raysweep.errors import RequestError
from raysweep.local_path import local_path, user_folder


def test_a_path_stays_and_a_file_address_is_one(tmp_path):
    for path in ("a/b", Path("a/b"), "C:/x", "~/x", Path("a:b/c")):
        assert local_path(path, "--out") == Path(path)
    for address in (f"file://{tmp_path}/a", Path(f"file://{tmp_path}/a")):
        assert local_path(address, "--out") == tmp_path / "a"


def test_the_folder_of_a_user(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert [str(at_home(path)) for path in ("~/x", "~", "a/~", "~x.svs")] == ["/home/me/x", "/home/me", "a/~", "~x.svs"]
    for home, says in (
        ("~nosuchuser/x", "no user nosuchuser; write"),
        ("s3://b/x", "RAYSWEEP_HOME s3://b/x: is an addr"),
    ):
        monkeypatch.setenv("RAYSWEEP_HOME", home)
        with pytest.raises(RequestError, match=says):
            user_folder()


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
