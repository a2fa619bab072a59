"""Ray's workers import what the command imports, whatever scripts of the user's stand in its working directory, and
stand in another one."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from raysweep.errors import RequestError, WorkError
from raysweep.progress import Progress
from raysweep.study import cluster

_LOOK = """
import os, sys, ray
from raysweep.progress import Progress
from raysweep.study.cluster import cluster

def look(here):
    import openslide, tifffile, yaml
    return openslide.__file__, tifffile.__file__, yaml.__file__, here in sys.path, os.getcwd() == here

class Looker:
    def look(self, here):
        return look(here)

if __name__ == "__main__":
    with cluster(Progress(quiet=True), cpus=2):
        actor = ray.remote(Looker).remote()
        here = os.getcwd()  # it may go away during a run
        print(*ray.get([ray.remote(look).remote(here), actor.look.remote(here)]), sep="\\n")
"""
_TORN = "import sys\nsys.exit('usage: FILE ...')\n"


def _looked(folder: Path, *command: str) -> list[tuple]:
    env = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "PYTHONSAFEPATH")}
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=100, env=env)
    assert done.returncode == 0, done.stderr
    return [eval(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_scripts_called_like_libraries(tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    for name in ("openslide", "tifffile", "yaml", "torch", "numpy", "ray"):
        (study / f"{name}.py").write_text(_TORN)
    (study / "raysweep").mkdir()
    (study / "raysweep/__init__.py").write_text(_TORN)
    (tmp_path / "look.py").write_text(_LOOK)
    import openslide
    import tifffile
    import yaml

    true = (openslide.__file__, tifffile.__file__, yaml.__file__, False, False)
    assert _looked(study, str(tmp_path / "look.py")) == [true, true]


def test_a_local_ray_takes_the_cpus_that_it_may_use() -> None:
    look = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from raysweep.study.cluster import"
    code = f"{look} _allowed_cpus; print(_allowed_cpus(), os.cpu_count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    allowed, there = done.stdout.split()
    assert allowed == ("1" if there != "1" else "None")


def test_a_ray_that_does_not_start_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: Any) -> None:
        raise Exception("The current node timed out during startup.\nThis could happen because ...")  # Ray's own kind

    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster.ray, "init", init)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    said = r"^a local Ray could not be reached or started: The current node timed out during startup\. This could"
    with pytest.raises(WorkError, match=said), cluster.cluster(Progress(quiet=True)):
        pass


def test_many_more_cpus_than_there_are_start_no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would have a process of its own."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    with (
        pytest.raises(RequestError, match=r"^compute\.cpus: 100000 were asked for, and this machine has"),
        cluster.cluster(Progress(quiet=True), cpus=100_000),
    ):
        pass


@pytest.mark.parametrize(
    ("home", "named", "own"),
    [
        ("", {}, False),  # Ray makes its token there
        ("/proc", {}, True),
        ("/dev/null", {}, True),
        ("/proc", {"RAY_AUTH_MODE": "disabled"}, False),
        ("/proc", {"RAY_AUTH_TOKEN_PATH": "/gone"}, False),  # Ray says what is wrong with it
    ],
)
def test_a_home_that_keeps_no_token(
    home: str, named: dict[str, str], own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # and put back what it was
        monkeypatch.delenv(name)
    for name, value in (named | {"HOME": home or str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    cluster._have_token()
    assert (len(os.environ.get("RAY_AUTH_TOKEN", "")) == 64) == own
