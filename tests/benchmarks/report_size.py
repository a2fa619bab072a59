"""What a report costs at the size that raysweep is designed for: processor seconds of `write_report` by size.

    python -m tests.benchmarks.report_size tasks|rows|images [SIZE ...]

Each size runs in a process of its own on drawn artefacts: ten checkpoints, two fractions, five repeats, so 100 finals a
task. tasks: so many tasks of 150 test images, balanced accuracy. rows: the same with eight metrics and six further test
sets, 56 result rows a final. images: tasks of 32,000 test images of 400 patients, AUROC. Times on shared machines mean
little; what counts is that twice the size is twice the time.

Last figures (two cores, little beside it; processor seconds, and milliseconds a final):

| case | size | figure |
|---|---|---|
| tasks | 500, 1,000, 2,000 finals | 16.9, 29.7, 53.7 s: 34, 30, 27 ms |
| rows | 11,200, 22,400 rows of 200, 400 finals | 11.0, 21.3 s: 55, 53 ms |
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from raysweep.randomness import generator
from raysweep.report.cells import CellRef, RepeatRef
from raysweep.report.spec import CompareSpec
from raysweep.report.write import write_report
from raysweep.storage import MANIFEST, Storage
from raysweep.transfer.schema import CLASSIFICATION_PREDICTIONS, RESULT_SCHEMA

_CHECKPOINTS, _FRACTIONS, _REPEATS = 10, (0.1, 1.0), 5
_METRICS = {
    "tasks": ("balanced_accuracy",),
    "images": ("auroc",),
    "rows": ("balanced_accuracy", "accuracy", "macro_f1", "auroc", "quadratic_kappa", "mean_patient_accuracy",
             "patient_vote_accuracy", "patient_auroc"),
}  # fmt: skip
_SIZES = {"tasks": (5, 10, 20), "rows": (5, 10, 20), "images": (1, 2)}


def _predictions(seed: int, images: int, units: int) -> pa.Table:
    rng = generator("report size", seed, images)
    unit = np.arange(images) % units
    label = (np.arange(images) % 2).astype(np.int32)
    right = 1 / (1 + np.exp(-(0.5 + 0.02 * seed + rng.normal(0, 1, images) + rng.normal(0, 0.5, units)[unit])))
    scores = np.where(np.arange(2) == label[:, None], right[:, None], 1 - right[:, None]).astype(np.float32)
    lists = pa.ListArray.from_arrays(np.arange(images + 1, dtype=np.int32) * 2, pa.array(scores.ravel()))
    columns = [pa.array([f"p{u:04d}/{i}.png" for i, u in enumerate(unit)]), pa.array([f"p{u:04d}" for u in unit]),
               pa.array(np.zeros(images, np.int32)), pa.array(label), lists]  # fmt: skip
    return pa.table(columns, schema=CLASSIFICATION_PREDICTIONS)


def _write(root: Path, case: str, tasks: int) -> dict:
    """Artefacts of a study; equal prediction files are one file under several names."""
    home, metrics = Storage.open(root), _METRICS[case]
    images, units = (32_000, 400) if case == "images" else (150, 30)
    drawn = {}
    for k in range(_CHECKPOINTS):
        for repeat in range(_REPEATS):
            home.write_table(_predictions(10 * k + repeat, images, units), "drawn", f"{k}-{repeat}.parquet")
            drawn[k, repeat] = root / f"drawn/{k}-{repeat}.parquet"
    cells = []
    for t in range(tasks):
        further = [f"t{t}-elsewhere{i}" for i in range(6)] if case == "rows" else []
        for fraction in _FRACTIONS:
            for k in range(_CHECKPOINTS):
                path = f"cells/c{k}/t{t}/finetune/{fraction:g}"
                repeats = tuple(RepeatRef(r, home.at(path, "0", str(r)), f"{path}/0/{r}", "done")
                                for r in range(_REPEATS))  # fmt: skip
                cells.append(CellRef(path, f"c{k}", f"t{t}", "classification", "finetune", fraction, metrics, repeats,
                                     "patient", (), tuple((name, "patient") for name in further)))  # fmt: skip
                for ref in repeats:
                    _write_final(cells[-1], ref, root, drawn[k, ref.number], images, units, [f"t{t}", *further])
    return {"study": "size", "compare": CompareSpec(baseline="c0"), "patch_sets": {},
            "checkpoints": {f"c{k}": [] for k in range(_CHECKPOINTS)}, "cells": cells}  # fmt: skip


def _write_final(
    cell: CellRef, ref: RepeatRef, root: Path, drawn: Path, images: int, units: int, test_sets: list[str]
) -> None:
    folder = root / ref.path / "predictions"
    folder.mkdir(parents=True)
    for name in test_sets:
        os.link(drawn, folder / f"{name}.parquet")
    rows = [
        {"study": "size", "checkpoint": cell.checkpoint, "pretraining_seed": 0, "task": cell.task, "kind": cell.kind,
         "test_set": name, "n_folds": 1, "protocol": cell.protocol, "fraction": cell.fraction, "repeat": ref.number,
         "search": "each", "n_images": round(1000 * cell.fraction), "n_units": 20,
         "n_val_images": 100, "n_val_units": 5, "n_test_images": images, "n_test_units": units, "params": ["{}"],
         "metric": metric, "value": 0.7, "reason": "", "classes": ["a", "b"], "per_class": [0.7, 0.7],
         "predictions": f"predictions/{name}.parquet", "folder": ref.path,
         "versions": "{}", "search_seconds": 60.0, "train_seconds": 6.0}
        for name in test_sets for metric in cell.metrics
    ]  # fmt: skip
    steps = [{"fold": 0, "step": s, "val_metric": 0.5} for s in (10, 20)]
    final = pa.Table.from_pylist(rows, schema=RESULT_SCHEMA)
    final = final.append_column("evaluations", pa.array([steps] * len(rows)))
    ref.folder.write_table(final.append_column("best_last", pa.array([False] * len(rows))), "final.parquet")
    trials = {"fold": [0] * 8, "number": list(range(8)), "value": [0.6] * 8, "select": ["val_metric"] * 8,
              "status": ["done"] * 8, "reason": [None] * 8, "trial_seconds": [20.0] * 8}  # fmt: skip
    ref.folder.write_table(pa.table(trials), "trials.parquet")
    ref.folder.write_json({"fingerprint": "0"}, MANIFEST)


def _measure(case: str, size: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        told = _write(Path(scratch), case, size)
        before, start = time.process_time(), time.perf_counter()
        write_report(Storage.open(scratch), **told)
        seconds, wall = time.process_time() - before, time.perf_counter() - start
        finals = size * _CHECKPOINTS * len(_FRACTIONS) * _REPEATS
        rows = Storage.open(scratch).read_table("results.parquet", columns=["metric"]).num_rows
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    each = f"{1000 * seconds / finals:6.1f} ms a final"
    print(f"{case:7} {size:3} tasks {finals:6,} finals {rows:8,} rows {seconds:7.1f} CPU-s ({each}), {wall:6.1f} s on "
          f"the wall, {memory:.2f} GiB", flush=True)  # fmt: skip


def main() -> None:
    """One process a size, so that none finds what another has left in memory."""
    case, *sizes = sys.argv[1:]
    if os.environ.get("RAYSWEEP_REPORT_SIZE"):
        return _measure(case, int(sizes[0]))
    for size in sizes or [str(s) for s in _SIZES[case]]:
        subprocess.run([sys.executable, "-m", "tests.benchmarks.report_size", case, size], check=True,
                       env={**os.environ, "RAYSWEEP_REPORT_SIZE": "1"})  # fmt: skip


if __name__ == "__main__":
    main()
