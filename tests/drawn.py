"""The demo's slides and sets, drawn once in a whole test run and copied to where a test wants them."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from raysweep.demo.sets import write_sets
from raysweep.demo.slides import write_slides


def copy_sets(folder: Path, *, seed: int = 0) -> None:
    """What `write_sets(folder, seed=seed)` leaves."""
    _copy(f"sets-{seed}", lambda target: write_sets(target, seed=seed), folder)


def copy_slides(folder: Path, *, n: int, seed: int = 0) -> Path:
    """What `write_slides(folder, n=n, seed=seed)` leaves and returns."""
    _copy(f"slides-{n}-{seed}", lambda target: write_slides(target, n=n, seed=seed), folder)
    return folder / "slides.csv"


def _copy(name: str, draw: Callable[[Path], object], folder: Path) -> None:
    kept = Path(os.environ["RAYSWEEP_TEST_DRAWN"])  # one folder for all pytest workers, see conftest
    with open(kept / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        draw(kept / name)  # it leaves alone what is there
    shutil.copytree(kept / name, folder, dirs_exist_ok=True)
