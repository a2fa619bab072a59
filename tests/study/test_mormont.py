"""The small variant of Mormont et al. 2020, on drawn copies of the sets that it asks for."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from timm import create_model

from raysweep.pretrain.source import SEEN, read_sources
from raysweep.progress import Progress
from raysweep.study.graph import build_graph
from raysweep.study.load import load_study
from raysweep.study.plan import plan_rows
from raysweep.study.run import run_study
from tests.study.mini import results

_QUIET = Progress(quiet=True)
_RELATED = {"glas-grade-tiles", "gland-stroma"}


def _table(path: Path, rows: list[dict]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _draw(folder: Path, names: list[str], size: tuple[int, int], seed: int) -> None:
    """Images, dark where their masks number objects: the left half, and squares in the right one."""
    rng = np.random.default_rng(seed)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for name in names:
        mask = np.zeros(size[::-1], np.uint8)
        mask[:, : size[0] // 2] = 1
        mask[10:50, -60:-20] = 2
        image = rng.integers(120, 220, (*mask.shape, 3), np.uint8)
        image[mask > 0] -= 90
        Image.fromarray(image).save(folder / f"images/{name}.png")
        Image.fromarray(mask).save(folder / f"masks/{name}.png")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mormont")
    glas = [f"train_{n}" for n in range(12)]
    _draw(folder / "glas", glas, (480, 322), 0)
    _table(folder / "glas/manifest.csv", [
        {"name": name, "split": "train", "grade": ("benign", "malignant")[n % 2], "patient_id": n // 2 % 6 * 2 + n % 2}
        for n, name in enumerate(glas)
    ])  # fmt: skip
    _draw(folder / "brain_nuclei/gbm40_emory", [f"gbm40_{n:02}" for n in range(8)], (256, 256), 1)
    dsb = [f"{n:064x}" for n in range(16)]
    _draw(folder / "dsb2018_color", dsb, (256, 192), 2)
    stain = ("white_bg", "purple_bg")
    _table(folder / "dsb2018_color/manifest.csv", [{"id": name, "stain_group": stain[n % 2]} for n, name in
                                                   enumerate(dsb)])  # fmt: skip
    return folder


@pytest.mark.long
@pytest.mark.usefixtures("ray_session")
def test_every_task_is_tested_with_weights_that_never_saw_it(data: Path, tmp_path: Path) -> None:
    """All stages to the report, one point of the grid, one seed; what weights have seen is as they tell it."""
    from safetensors.torch import save_file

    weights = data / "weights/tf_efficientnet_lite0.imagenet.safetensors"
    weights.parent.mkdir()
    save_file(create_model("test_efficientnet").state_dict(), weights)
    cut = ["checkpoints.imagenet.backbone=test_efficientnet", "checkpoints.random.backbone=test_efficientnet",
           "checkpoints.multitask.grid.lr=[0.01]",
           "checkpoints.multitask.grid.head_lr_factor=[1]",
           "checkpoints.multitask.seeds=1", "checkpoints.multitask.steps=3",
           "checkpoints.multitask.options.warmup_steps=1", "checkpoints.multitask.batch=16", "transfer.repeats=1",
           "transfer.spaces.svm_classification={C: {values: [0.01], default: 0.01}}", "compute.workers=1",
           "accept_licences=[glas-grade-tiles,gland-stroma]"]  # fmt: skip
    file = load_study("mormont2020-small", [f"data={data}", f"storage={tmp_path / 'runs'}", *cut])
    outcome = run_study(file, progress=_QUIET)
    assert not outcome.failures
    assert outcome.report is not None
    title = str(file.study.question)
    assert title in " ".join(outcome.report.read_bytes("index.html").decode().split())

    graph = build_graph(file)
    pool = set(file.study.checkpoints["multitask"].sources)
    for name, task in graph.tasks.items():
        left = _RELATED if name in _RELATED else {name}
        [plan] = [plan for plan in graph.checkpoints.values() if plan.row == "multitask"]
        for fold in range(task.n_folds):
            folder = plan.of(name, fold, 0).artefact.folder
            assert folder.exists(SEEN)
            rows = read_sources(folder).to_pylist()
            assert {row["source"] for row in rows} == pool - left
            if name in _RELATED:
                units = {sample.unit for sample in task.task.samples}
                assert not units & {row["unit"] for row in rows}
    tested = {(row["task"], row["checkpoint"]) for row in results(tmp_path, file.study.name)}
    assert tested == {(task, row) for task in graph.tasks for row in ("imagenet", "random", "multitask")}

    again = load_study("mormont2020-small", [f"data={data}", f"storage={tmp_path / 'runs'}", *cut])
    assert {row[2] for row in plan_rows(again)[1]} == {"exists"}
    shutil.rmtree(tmp_path / "runs")
