"""How long it takes to index many small files, beside `find -printf %s` on the same folder.

    python -m tests.benchmarks.indexing [--files 300000] [--rounds 3]

The files are PNGs of 4 x 4 pixels in ten class folders of a temporary folder, which is removed. `listed` is the
index without opening an image, `again` what a study or a second `prepare` does when nothing has changed, `prepare` the
first time (every file is decoded). The target is at most five times `find` for `listed`.

Last figures (two cores, 300,000 files, other work beside): prepare 243 s, again with all that it looks for 15.4 s; find
0.87 s, listed 4.35 s (5.23 times), again 10.2 s (11.5 times). Since then names that are ASCII are not normalised.
"""

import argparse
import io
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from raysweep.tasks.card import Card
from raysweep.tasks.find import find_samples
from raysweep.tasks.indexes import indexed_task
from raysweep.tasks.prepare import prepare

_CLASSES = 10


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="raysweep-indexing-") as folder:
        os.environ["RAYSWEEP_HOME"] = f"{folder}/home"
        _run(Path(folder), asked.files, asked.rounds)


def _run(folder: Path, files: int, rounds: int) -> None:
    card = _write(folder / "set", files)
    seconds: dict[str, list[float]] = {"find": [], "listed": [], "again": []}
    started = time.perf_counter()
    prepare(card, folder, accept=False)
    print(f"{files:,} files; prepare, the first time: {time.perf_counter() - started:.1f} s", flush=True)
    for _ in range(rounds):
        for name, work in (
            ("find", lambda: subprocess.run(["find", folder / "set", "-type", "f", "-printf", "%s\n"],
                                            stdout=subprocess.DEVNULL, check=True)),
            ("listed", lambda: find_samples(card, folder / "set")),
            ("again", lambda: indexed_task(card, folder)),
        ):  # fmt: skip
            started = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - started)
    started = time.perf_counter()
    prepare(card, folder, accept=False)
    print(f"prepare again, with all that it looks for: {time.perf_counter() - started:.1f} s")
    for name, values in seconds.items():
        ratios = [value / find for value, find in zip(values, seconds["find"], strict=True)]
        print(f"{name}: {statistics.median(values):.2f} s, {statistics.median(ratios):.2f} times find")


def _write(root: Path, files: int) -> Card:
    """Small pictures of which no two are of the same bytes."""
    rng = np.random.default_rng(0)
    for number in range(files):
        label = root / f"class{number % _CLASSES}"
        if number < _CLASSES:
            label.mkdir(parents=True)
        out = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (4, 4), np.uint8)).save(out, "PNG")
        (label / f"P{number // 30}_{number}.png").write_bytes(out.getvalue())
    return Card.model_validate({
        "name": "indexing", "kind": "classification", "classes": [f"class{i}" for i in range(_CLASSES)],
        "source": "made", "licence": {"name": "CC0"}, "root": "set", "unit": "patient", "metrics": ["accuracy"],
        "layout": {"type": "image_folder", "unit": r"(P\d+)_"},
    })  # fmt: skip


if __name__ == "__main__":
    main()
