"""Which commit of a git checkout raysweep runs from, for manifests and result rows beside the versions of packages."""

import os
import subprocess
from functools import cache
from pathlib import Path

_PARTS = ("raysweep", "datasets", "search_spaces")  # what of a checkout results may depend on


@cache  # asked once a process; it is the code that was loaded
def commit(package: Path = Path(__file__).parent) -> dict[str, str]:
    """`{"raysweep commit": "1f3a... with changes"}`; empty unless the package is run from a checkout that git can read.

    with changes: files of the package, or the YAML beside it, are not what was committed. It is recorded and enters no
    fingerprint. package: the folder of raysweep.
    """
    if _git(package, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return {}  # installed, perhaps into an environment inside somebody else's repository
    found = _git(package, "rev-parse", "HEAD")
    parts = [str(package.parent / part) for part in _PARTS if (package.parent / part).exists()]
    changed = _git(package, "--no-optional-locks", "status", "--porcelain", "--", *parts)
    if found is None or changed is None:
        return {}
    return {"raysweep commit": found.strip() + (" with changes" if changed.strip() else "")}


def _git(folder: Path, *words: str) -> str | None:
    """What git prints; None where it fails, or there is none."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # of another one
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], env=environment, capture_output=True, text=True,
                              timeout=20, check=False)  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None
