import shutil
import subprocess
from pathlib import Path

import pytest

from raysweep import commit as module
from raysweep.commit import commit
from raysweep.storage import Artefact, Storage


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A checkout with the file that looks for itself."""
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    package = tmp_path / "checkout/raysweep"
    package.mkdir(parents=True)
    shutil.copy(module.__file__, package / "commit.py")
    _git(package.parent, "init", "-q")
    _git(package.parent, "add", ".")
    _commit(package.parent)
    return package


def _commit(folder: Path) -> None:
    _git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "first")


def _found(package: Path) -> dict[str, str]:
    commit.cache_clear()
    return commit(package)


def test_the_commit_of_a_checkout_and_whether_it_was_changed(package: Path) -> None:
    head = _git(package, "rev-parse", "HEAD")
    assert _found(package) == {"raysweep commit": head}
    (package.parent / "notes.txt").write_text("no part of the program")
    assert _found(package) == {"raysweep commit": head}
    (package / "new.py").write_text("x = 1\n")
    assert _found(package) == {"raysweep commit": f"{head} with changes"}
    (package / "new.py").unlink()
    (package / "commit.py").write_text("x = 2\n")
    assert _found(package) == {"raysweep commit": f"{head} with changes"}


def test_an_environment_inside_somebody_elses_repository_is_no_checkout(package: Path) -> None:
    installed = package.parent / "venv/raysweep"
    installed.mkdir(parents=True)
    shutil.copy(module.__file__, installed / "commit.py")
    assert _found(installed) == {}


def test_without_git_or_a_repository_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _found(tmp_path) == {}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _found(Path(module.__file__).parent) == {}


def test_what_a_hook_says_of_its_own_repository_is_not_listened_to(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert _found(package)


def test_a_manifest_has_it_and_its_fingerprint_does_not(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for name in ("one", "two"):
        monkeypatch.setattr("raysweep.storage.commit", lambda name=name: {"raysweep commit": name})
        artefact = Artefact(Storage.open(tmp_path / name), {"a": 1})
        artefact.commit(config={}, counts={}, timings={})
        found.append(artefact.manifest())
    assert [m["versions"]["raysweep commit"] for m in found] == ["one", "two"]
    assert found[0]["fingerprint"] == found[1]["fingerprint"]
