"""Tasks that are made from patch sets of the same study."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from raysweep.errors import RequestError
from raysweep.progress import Progress
from raysweep.storage import Storage
from raysweep.study.load import load_study
from raysweep.study.plan import plan_rows
from raysweep.study.run import run_study
from raysweep.study.status import status_rows
from tests.bucket import serve_bucket
from tests.study.mini import results

_QUIET = Progress(quiet=True)
_CARD = {
    "name": "glands", "kind": "classification", "classes": ["stroma", "gland"], "source": "drawn",
    "licence": {"name": "CC0"}, "root": "patches:tiles", "layout": {"type": "patch_set"}, "unit": "patient",
    "splits": {"type": "folds", "k": 2}, "px": 32, "metrics": ["auroc"],
}  # fmt: skip
_STUDY = {
    "name": "own",
    "patches": {
        "tiles": {
            "slides": "manifest.csv",
            "columns": {"path": "images/{name}.png", "mask": "masks/{name}.png", "patient": "{case}"},
            "slide_mpp": 1, "um": 32, "px": 32, "tissue": "all",
            "labels": {"source": "mask", "rule": "area >= 0.5", "values": {"stroma": 0, "gland": "1-999"}},
        }
    },
    "checkpoints": {"random": {"backbone": "test_resnet"}, "other": {"backbone": "test_vit"}},
    "tasks": [_CARD],
    "transfer": {"protocols": ["knn"], "repeats": 2},
    "compare": {"baseline": "random", "primary": {"protocol": "knn"}},
    "compute": {"tile_workers": 2},
}  # fmt: skip


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Eight images of eight people, each of twelve tiles, of which the left six are in numbered glands."""
    rng = np.random.default_rng(0)
    rows = []
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for number in range(8):
        mask = np.zeros((96, 128), np.uint16)
        mask[:, :64] = 1 + np.arange(64)[None] // 32 + 300 * (number % 2)
        image = rng.integers(120, 200, (96, 128, 3), np.uint8)
        image[mask > 0] -= 80
        Image.fromarray(image).save(tmp_path / f"images/{number}.png")
        Image.fromarray(mask).save(tmp_path / f"masks/{number}.png")
        rows.append({"name": number, "case": f"p{number}"})
    with open(tmp_path / "manifest.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["name", "case"])
        writer.writeheader()
        writer.writerows(rows)
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({**_STUDY, "storage": str(tmp_path / "runs")}, sort_keys=False))
    return path


def _value(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["checkpoint"], row["repeat"], row["metric"], row["value"]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_the_set_is_tiled_first_and_its_patches_are_the_task(study: Path, tmp_path: Path) -> None:
    _, rows, notes = plan_rows(load_study(study))
    assert [row[:4] for row in rows] == [["tile", "patch set tiles", "to do", "8 slides, at most 96 patches"]]
    assert notes[-1].startswith("tasks are made from these patch sets")
    with pytest.raises(RequestError, match="of which tiles is not there yet; `raysweep tile` of this study makes them"):
        status_rows(load_study(study))

    outcome = run_study(load_study(study), progress=_QUIET)
    assert not outcome.failures
    found = results(tmp_path, "own")
    assert {row["task"] for row in found} == {"glands"}
    assert {row["n_units"] for row in found} == {4}, "half of the people, in folds"
    assert min(row["value"] for row in found if row["checkpoint"] == "random") > 0.9, "dark tiles are glands"

    (tmp_path / "runs").rename(tmp_path / "moved")
    moved = load_study(study, [f"storage={tmp_path / 'moved'}"])
    assert {row[2] for row in plan_rows(moved)[1]} == {"exists"}, "the task's files move with the storage"
    assert not run_study(moved, progress=_QUIET).failures


@pytest.mark.long
@pytest.mark.usefixtures("ray_session")
def test_in_a_bucket_the_workers_read_a_copy_and_find_the_same(study: Path, tmp_path: Path) -> None:
    assert not run_study(load_study(study), progress=_QUIET).failures
    with serve_bucket() as bucket:
        for path in (tmp_path / "runs/own/patches").rglob("*"):
            if path.is_file():
                bucket.put(path.relative_to(tmp_path).as_posix(), path.read_bytes())
        assert not run_study(load_study(study, [f"storage={bucket.address('runs')}"]), progress=_QUIET).failures
        far = Storage.open(bucket.address("runs")).at("own").read_table("results.parquet").to_pylist()
    assert {_value(row) for row in far} == {_value(row) for row in results(tmp_path, "own")}


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("tasks.0.root=patches:tile", r"task glands: root: patches:tile: this study has no .* name; it has tiles"),
        ("tasks.0.layout.type=image_folder", "root: patches:tiles is a patch set of the study: its layout.type is"),
        ("patches.tiles.exclude=tasks", r"patches\.tiles\.exclude: task glands is made from this patch set"),
    ],
)
def test_what_cannot_be_is_one_sentence(study: Path, override: str, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        plan_rows(load_study(study, [override]))
