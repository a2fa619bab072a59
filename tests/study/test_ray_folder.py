"""Ray gets a folder that its sockets fit into, whatever a scheduler or another user has left."""

import io
import os
import shutil
import socket
from collections import namedtuple
from pathlib import Path

import pytest
from rich.console import Console

from raysweep.errors import WorkError
from raysweep.progress import Progress
from raysweep.study import ray_folder as module
from raysweep.study.ray_folder import ray_folder


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short path: pytest's own are long."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="rf", dir="/tmp") as name:
        yield Path(name)  # type: ignore[misc]


def _used(monkeypatch: pytest.MonkeyPatch, **named: object) -> tuple[Path, str]:
    """The folder that is taken, and what is said."""
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in named.items():
        monkeypatch.setenv(name, str(value))
    before = os.environ.get("RAY_TMPDIR")
    said = io.StringIO()
    with ray_folder(Progress(Console(file=said, width=1000))) as folder:
        assert os.environ["RAY_TMPDIR"] == str(folder)
        assert os.access(folder / "ray", os.W_OK)
    assert os.environ.get("RAY_TMPDIR") == before
    return folder, said.getvalue()


def test_what_is_named_is_used(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _used(monkeypatch, RAY_TMPDIR=short / "a") == (short / "a", "")  # made
    assert _used(monkeypatch, TMPDIR=short) == (short, "")
    assert _used(monkeypatch, RAY_TMPDIR=short / "a", TMPDIR=short) == (short / "a", "")
    assert _used(monkeypatch) == (Path("/tmp"), "")
    assert _used(monkeypatch, RAY_TMPDIR="", TMPDIR="") == (Path("/tmp"), "")


def test_a_relative_folder_is_this_directory_s(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(short)
    assert _used(monkeypatch, TMPDIR="t")[0] == short / "t"


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
def test_the_longest_path_that_sockets_fit_into(name: str, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fits = short / ("é" * 20)[: (module._MOST_BYTES - len(os.fsencode(short)) - 1) // 2]
    fits = Path(str(fits) + "x" * (module._MOST_BYTES - len(os.fsencode(fits))))
    assert _used(monkeypatch, **{name: fits})[0] == fits
    real = fits / module._SESSION
    real.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as longest:
        longest.bind(str(real))  # the system itself agrees
    folder, said = _used(monkeypatch, **{name: f"{fits}x"})
    assert folder == Path("/tmp")
    assert f"{name}: {fits}x is too long for sockets" in said
    assert "Ray uses /tmp" in said
    assert len(said.splitlines()) == 1


def test_folders_that_cannot_be_written(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (short / "file").write_text("")
    for bad in ("/proc/nowhere", "/proc", short / "file", short / "file/below"):
        folder, said = _used(monkeypatch, RAY_TMPDIR=bad, TMPDIR=short)
        assert folder == short
        assert f"RAY_TMPDIR: {bad} cannot be used" in said


def test_a_full_disk(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    true = shutil.disk_usage
    full = lambda path: usage(1, 1, 3_000_000) if Path(path).is_relative_to(short) else true(path)  # noqa: E731
    monkeypatch.setattr(shutil, "disk_usage", full)
    folder, said = _used(monkeypatch, TMPDIR=short)
    assert folder == Path("/tmp")
    assert "has 3 MB free, and Ray wants 200" in said


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_the_folder_of_another_user(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (short / "ray").mkdir(mode=0o555)
    folder, said = _used(monkeypatch, RAY_TMPDIR=short)
    assert folder == short / f"raysweep-{os.getuid()}"
    assert said == ""


def test_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("usage", "free")(0))
    with pytest.raises(WorkError, match=r"TMPDIR: /tmp has 0 MB free.*; set RAY_TMPDIR to a folder .* 39 bytes"):
        _used(monkeypatch, TMPDIR="/tmp")
