"""Real checkpoints, tasks and protocols, as small as they get: in this process, and under Ray Tune."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raysweep.backbones.checkpoint import CheckpointInfo, save_checkpoint
from raysweep.backbones.create import create_backbone
from raysweep.progress import Progress
from raysweep.storage import Artefact, Storage
from raysweep.sweep.cell import Cell, cell_inputs
from raysweep.sweep.run import search
from raysweep.sweep.space import load_space
from raysweep.tasks.card import Card
from raysweep.tasks.sample import Sample
from raysweep.tasks.task import Task
from raysweep.transfer.features import compute_features, features_inputs
from raysweep.transfer.schema import RESULT_SCHEMA
from raysweep.transfer.spec import TransferSpec
from tests.sweep.toy import outcome, simulate

TRANSFER = TransferSpec(trials=4, finals=2, steps=4, evaluations=2, batch=4, early_stopping="asha")


def _task(folder: Path, kind: str) -> Storage:
    rng = np.random.default_rng(0)
    (folder / kind).mkdir(parents=True)
    samples = []
    for i in range(24):
        mask = np.zeros((32, 32), np.uint8)
        mask[:, : 8 + i % 16] = 1
        bright = mask if kind == "segmentation" else np.full_like(mask, i % 2)
        pixels = rng.normal(90 + 70 * bright[..., None], 25, (32, 32, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / kind / f"{i}.png")
        Image.fromarray(mask).save(folder / kind / f"{i}-mask.png")
        label, of = (None, f"{kind}/{i}-mask.png") if kind == "segmentation" else (i % 2, None)
        samples.append(Sample(f"{i:02d}", f"{kind}/{i}.png", of, label, f"unit{i // 2}"))
    layout = "image_mask_pairs" if kind == "segmentation" else "image_folder"
    card = Card.model_validate(
        {"name": f"tiny-{kind}", "kind": kind, "classes": ["dark", "bright"], "source": "none", "unit": "patient",
         "licence": {"name": "CC0"}, "root": "none", "layout": {"type": layout}, "px": 32,
         "metric": "dice" if kind == "segmentation" else "balanced_accuracy"}
    )  # fmt: skip
    storage = Storage.open(folder / f"{kind}-task")
    Task(card, folder, samples).save(storage)
    return storage


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Storage, dict[str, Storage], Storage]:
    """A checkpoint, a task of each kind, and the features of the first."""
    folder = tmp_path_factory.mktemp("real")
    checkpoint = Storage.open(folder / "checkpoint")
    info = CheckpointInfo(backbone="resnet10t", mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), init="random")
    save_checkpoint(checkpoint, create_backbone("resnet10t", seed=0).state_dict(), info)
    tasks = {kind: _task(folder, kind) for kind in ("classification", "segmentation")}
    features = Artefact(Storage.open(folder / "features"), features_inputs("c", "t"))
    compute_features(checkpoint, tasks["classification"], features, threads=1, gpu=False)
    return checkpoint, tasks, features.folder


def _cells(folder: Path, inputs: tuple[Storage, dict[str, Storage], Storage]) -> list[Cell]:
    checkpoint, tasks, features = inputs
    cells = []
    for protocol, kind in (("linear", "classification"), ("finetune", "classification"), ("finetune", "segmentation")):
        space = load_space(protocol, kind, {}, [])
        made = cell_inputs(TRANSFER, checkpoints=["c"], task=kind, protocol=protocol, kind=kind, fraction=0.5,
                           space=space, seed=0)  # fmt: skip
        home = Storage.open(folder / "study/cells/tiny" / f"tiny-{kind}" / protocol / "0.5")
        cells.append(Cell("tiny", [checkpoint], f"tiny-{kind}", tasks[kind], protocol, kind, 0.5,
                          Artefact(home, made), [features] if protocol == "linear" else []))  # fmt: skip
    return cells


def test_every_protocol_is_searched(tmp_path: Path, inputs) -> None:
    cells = _cells(tmp_path, inputs)
    assert simulate(cells, TRANSFER, study="tiny", at_once=2) == {}
    for cell in cells:
        trials, finals, predictions = outcome([cell])
        assert len(trials) == 4
        assert all(0 <= t["value"] <= 1 for t in trials if t["status"] != "failed")
        if cell.protocol == "linear":  # one fit, one evaluation: nothing to stop early
            assert [(t["status"], len(t["evaluations"])) for t in trials] == [("done", 1)] * 4
        else:
            assert {len(t["evaluations"]) for t in trials} == {1, 2}
        table = cell.artefact.folder.read_table("finals.parquet")
        assert table.schema.equals(RESULT_SCHEMA)
        assert len(predictions) == 2
        for final in finals:
            assert (final["n_images"], final["n_test_images"], final["n_test_units"]) == (9, 6, 3)
            assert 0 <= final["value"] <= 1
            assert len(final["per_class"]) == len(final["classes"]) == 2
            assert json.loads(final["params"][0]) in [json.loads(t["params"]) for t in trials]
        manifest = cell.artefact.manifest()
        assert manifest["counts"]["trials"] == 4
        assert manifest["timings"]["search_seconds"] > 0
        assert manifest["timings"]["train_seconds"] == pytest.approx(sum(table["train_seconds"].to_pylist()))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_results_under_ray_are_the_same_to_the_bit(tmp_path: Path, inputs, ray_session: None) -> None:
    here, there = _cells(tmp_path / "here", inputs), _cells(tmp_path / "there", inputs)
    assert simulate(here, TRANSFER, study="tiny") == {}
    quiet = Progress(quiet=True)
    assert search(there, TRANSFER, study="tiny", seed=0, threads=1, trials_at_once=2, progress=quiet) == []
    assert outcome(there) == outcome(here)
    assert search(there, TRANSFER, study="tiny", seed=0, threads=1, progress=quiet) == []  # nothing is left to do
