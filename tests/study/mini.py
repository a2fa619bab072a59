"""A study small enough for tests, on slides and sets that the demo draws."""

import csv
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from tests.drawn import copy_sets, copy_slides

SMALL = {  # for runs that are disturbed in all their stages: one task, of which an undisturbed run takes half the time
    "tasks": ["demo-tissue"],
    "transfer": {"protocols": ["finetune", "linear"], "fractions": [0.5], "repeats": 2, "trials": 3, "steps": 6,
                 "evaluations": 2, "batch": 8},
}  # fmt: skip


def write_mini(folder: Path, **changes: object) -> Path:
    """Draw the data and write `mini.yaml`: two checkpoints, two tasks, one fraction. Returns the study file.

    One of the slides has no file: every run of this study has one failure. `changes` replace top-level keys.
    """
    data = folder / "data"
    table = copy_slides(data / "slides", n=2)
    copy_sets(data)
    with open(table, newline="") as file:
        rows = [row | {"path": str(table.parent / row["path"])} for row in csv.DictReader(file)]
    rows.append({"slide": "broken", "path": "broken.svs", "patient": "S9", "label": "gland"})
    with open(folder / "slides.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    study = {
        "name": "mini",
        "storage": str(folder / "runs"),
        "data": str(data),
        "patches": {"tissue": {"slides": "slides.csv", "um": 64, "px": 32, "per_slide": 24}},
        "checkpoints": {
            "random": {"backbone": "test_resnet"},
            "supervised": {
                "backbone": "test_resnet",
                "method": "supervised",
                "patches": "tissue",
                "epochs": 2,
                "batch": 16,
            },
        },
        "tasks": ["demo-tissue", "demo-glands"],
        "transfer": {
            "protocols": {"classification": ["finetune", "linear"], "segmentation": ["finetune"]},
            "fractions": [0.5],
            "repeats": 2,
            "trials": 2,
            "steps": 4,
            "evaluations": 2,
            "batch": 8,
        },
        "compare": {"baseline": "random"},
        # Few processes: each imports torch.
        "compute": {"trials_at_once": 1, "workers": 1, "threads": 2, "tile_workers": 2},
    }
    path = folder / "mini.yaml"
    path.write_text(yaml.safe_dump(study | changes, sort_keys=False))
    return path


def results(folder: Path, study: str = "mini") -> list[dict]:
    """The rows of results.parquet without what may differ between equal runs: times."""
    table = pq.read_table(folder / "runs" / study / "results.parquet")
    return table.drop_columns([c for c in table.column_names if c.endswith("_seconds")]).to_pylist()
