"""The demo's slides and sets, drawn once in a whole test run and copied to where a test wants them."""

import csv
import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from raysweep.demo.sets import write_sets
from raysweep.demo.slides import write_slides


def copy_sets(folder: Path) -> None:
    """What `write_sets(folder, seed=0)` leaves."""
    _copy("sets", _draw_sets, folder)


def copy_tissue(folder: Path, *, patients: int) -> None:
    """Of `demo-tissue` alone so many patients of each split: what is looked at often should be small."""
    _copy("sets", _draw_sets, folder, "demo-tissue")
    table = folder / "demo-tissue/labels.csv"
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    of = {split: sorted({row["patient"] for row in rows if row["split"] == split}) for split in ("train", "test")}
    kept = {name for names in of.values() for name in names[:patients]}
    with open(table, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row for row in rows if row["patient"] in kept)
    for row in rows:
        if row["patient"] not in kept:
            (folder / "demo-tissue" / row["image"]).unlink()


def copy_slides(folder: Path, *, n: int) -> Path:
    """What `write_slides(folder, n=n, seed=0)` leaves and returns."""
    _copy(f"slides-{n}", lambda target: write_slides(target, n=n, seed=0), folder)
    return folder / "slides.csv"


def _draw_sets(target: Path) -> None:
    write_sets(target, seed=0)


def _copy(name: str, draw: Callable[[Path], object], folder: Path, part: str = "") -> None:
    kept = Path(os.environ["RAYSWEEP_TEST_DRAWN"])  # one folder for all pytest workers, see conftest
    with open(kept / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        draw(kept / name)  # it leaves alone what is there
    shutil.copytree(kept / name / part, folder / part, dirs_exist_ok=True)
