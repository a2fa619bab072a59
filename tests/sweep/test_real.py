"""Real checkpoints, tasks and protocols, as small as they get: in this process, and under Ray Tune."""

import contextlib
import json
import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raysweep.backbones.checkpoint import CheckpointInfo, save_checkpoint
from raysweep.backbones.create import create_backbone
from raysweep.progress import Progress
from raysweep.storage import Artefact, Storage
from raysweep.sweep.cell import Cell, Repeat, repeat_inputs
from raysweep.sweep.finish import FINAL_SCHEMA
from raysweep.sweep.run import Found, search
from raysweep.sweep.space import default_of, load_space
from raysweep.sweep.state import repeat_state
from raysweep.tasks.card import Card
from raysweep.tasks.sample import Sample
from raysweep.tasks.task import Task
from raysweep.transfer import images
from raysweep.transfer.features import compute_features, features_inputs
from raysweep.transfer.kept_masks import MASKS_SCHEMA
from raysweep.transfer.spec import TransferSpec
from tests.sweep.toy import Killed, events, outcome, simulate

FROZEN = ("linear", "svm", "knn")
TRANSFER = TransferSpec(trials=4, repeats=2, steps=4, evaluations=2, batch=4, early_stopping="asha")
METRICS = {"segmentation": ["dice", "iou", "pq"], "classification": ["balanced_accuracy", "auroc"]}


def _task(folder: Path, kind: str) -> Storage:
    """A task of 24 images, its files below `folder/data`."""
    root = folder / "data/sets"
    rng = np.random.default_rng(0)
    (root / kind).mkdir(parents=True)
    samples = []
    for i in range(24):
        mask = np.zeros((32, 32), np.uint8)
        mask[:, : 8 + i % 16] = 1
        bright = mask if kind == "segmentation" else np.full_like(mask, i % 2)
        pixels = rng.normal(90 + 70 * bright[..., None], 25, (32, 32, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / kind / f"{i}.png")
        Image.fromarray(mask).save(root / kind / f"{i}-mask.png")
        label, of = (None, f"{kind}/{i}-mask.png") if kind == "segmentation" else (i % 2, None)
        samples.append(Sample(f"{i:02d}", f"{kind}/{i}.png", of, label, f"unit{i // 2}"))
    numbered = {"type": "image_mask_pairs", "masks": {"binarise": True}}
    layout = numbered if kind == "segmentation" else {"type": "image_folder"}
    card = Card.model_validate(
        {"name": f"tiny-{kind}", "kind": kind, "classes": ["dark", "bright"], "source": "none", "unit": "patient",
         "licence": {"name": "CC0"}, "root": "sets", "layout": layout, "px": 32, "metrics": METRICS[kind]}
    )  # fmt: skip
    storage = Storage.open(folder / f"{kind}-task")
    Task(card, root, samples).save(storage)
    return storage


@dataclass(frozen=True)
class Inputs:
    checkpoint: Storage
    tasks: dict[str, Storage]  # by kind
    features: Storage  # of the classification task
    data: Path


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("real")
    checkpoint = Storage.open(folder / "checkpoint")
    info = CheckpointInfo(backbone="test_resnet", mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), init="random")
    save_checkpoint(checkpoint, create_backbone("test_resnet", seed=0).state_dict(), info)
    tasks = {kind: _task(folder, kind) for kind in ("classification", "segmentation")}
    features, data = Artefact(Storage.open(folder / "features"), features_inputs("c", "t")), folder / "data"
    compute_features(checkpoint, tasks["classification"], features, data=str(data), threads=1, gpu=False)
    return Inputs(checkpoint, tasks, features.folder, data)


def _cell(folder: Path, inputs: Inputs, protocol: str, kind: str, transfer: TransferSpec = TRANSFER) -> Cell:
    space = load_space(protocol, kind, {}, [])
    made = repeat_inputs(transfer, checkpoints=["c"], task=kind, protocol=protocol, kind=kind, fraction=0.5,
                         space=space, seed=0)  # fmt: skip
    home = Storage.open(folder / "study/cells/tiny" / f"tiny-{kind}" / protocol / "0.5")
    features = (inputs.features,) if protocol in FROZEN else ()
    repeats = [Repeat(number, Artefact(home, made, str(number)), 0, (inputs.checkpoint,), features)
               for number in range(transfer.repeats)]  # fmt: skip
    return Cell("tiny", f"tiny-{kind}", inputs.tasks[kind], protocol, kind, 0.5, space, tuple(repeats))


def _cells(folder: Path, inputs: Inputs) -> list[Cell]:
    every = (
        *((name, "classification") for name in FROZEN),
        ("finetune", "classification"),
        ("finetune", "segmentation"),
    )
    return [_cell(folder, inputs, protocol, kind) for protocol, kind in every]


def test_every_protocol_with_trials_is_searched(tmp_path: Path, inputs: Inputs) -> None:
    cells = [cell for cell in _cells(tmp_path, inputs) if cell.protocol not in FROZEN]
    assert simulate(cells, TRANSFER, study="tiny", at_once=2, data=str(inputs.data)) == {}
    for cell in cells:
        found = outcome([cell])
        lengths: set[int] = set()
        for number, (trials, rows, predictions) in enumerate([found[:3], found[3:]]):
            assert len(trials) == 4
            assert {t["select"] for t in trials} == {"val_loss"}  # few units in val
            assert json.loads(trials[0]["params"]) == default_of(cell.space)
            lengths |= {len(t["evaluations"]) for t in trials}
            _check(cell, number, rows, predictions)
            assert all(json.loads(row["params"][0]) in [json.loads(t["params"]) for t in trials] for row in rows)
            artefact = cell.repeats[number].artefact
            assert artefact.manifest()["counts"]["trials"] == 4
            assert artefact.manifest()["timings"]["search_seconds"] > 0
        assert lengths == {1, 2}
        assert found[0] != found[3]


def test_a_frozen_protocol_has_a_final_alone_which_shows_its_path(tmp_path: Path, inputs: Inputs) -> None:
    cells = [_cell(tmp_path, inputs, protocol, "classification") for protocol in FROZEN]
    assert simulate(cells, TRANSFER, study="tiny", at_once=2, data=str(inputs.data)) == {}
    for cell in cells:
        found = outcome([cell])
        for number, (trials, rows, predictions) in enumerate([found[:3], found[3:]]):
            assert trials == []
            _check(cell, number, rows, predictions)
            assert not any((cell.repeats[number].artefact.folder.exists("parts"), rows[0]["n_val_images"]))
            ((key, path),) = cell.space.items()
            for row in rows:
                assert (row["search"], row["n_val_units"]) == ("none", 0)
                assert row["chosen_by"] == ["cross-validation by patient, 4 folds"]
                shown = [json.loads(e["setting"])[key] for e in row["evaluations"]]
                assert shown == path["values"]
                assert [e["step"] for e in row["evaluations"]] == list(range(1, len(shown) + 1))
                chosen = shown.index(json.loads(row["params"][0])[key])
                scores = [e["val_metric"] for e in row["evaluations"]]
                assert scores[chosen] == max(scores)
                assert row["edge"] in ([""], [key])
            said = events(cell, number)
            assert [e["event"] for e in said] == ["opened", "asked", "final"]
            assert (said[0]["trials"], said[0]["n_val_images"], said[1]["final"]) == (0, 0, number)
            state = repeat_state(cell.repeats[number].artefact.folder)
            assert (state.status, state.trials, state.finals_done) == ("done", 0, 1)
        assert found[2] != found[5]


@pytest.mark.parametrize(
    ("protocol", "kind"), [("linear", "classification"), ("finetune", "classification"), ("finetune", "segmentation")]
)
def test_a_further_test_set_is_seen_as_the_tasks_own_images(
    tmp_path: Path, inputs: Inputs, protocol: str, kind: str
) -> None:
    transfer = TRANSFER.model_copy(update={"trials": 1, "repeats": 1})
    cell = _cell(tmp_path, inputs, protocol, kind, transfer)
    task, further = Task.load(cell.task_folder, inputs.data), Storage.open(tmp_path / "far")
    far = task.card.model_copy(update={"name": "far", "px": 64, "metrics": METRICS[kind][1:2]})
    Task(far, task.root, task.samples).save(further)  # the same images under another card
    repeat = cell.repeats[0]
    if protocol in FROZEN:
        stored = Artefact(Storage.open(tmp_path / "features"), features_inputs("c", "far", task.card.px))
        compute_features(inputs.checkpoint, further, stored, data=str(inputs.data), threads=1, gpu=False,
                         like=task.card)  # fmt: skip
        repeat = replace(repeat, test_features={"far": (stored.folder,)})
    cell = replace(cell, test_sets={"far": further}, repeats=(repeat,))
    assert simulate([cell], transfer, data=str(inputs.data)) == {}
    read = lambda name: repeat.artefact.folder.read_table("predictions", f"{name}.parquet").to_pylist()  # noqa: E731
    own, everything = read(f"tiny-{kind}"), {row["sample"]: row for row in read("far")}
    assert (len(own), len(everything)) == (6, 24)
    assert own[0].keys() == everything["00"].keys(), "the task's metrics are counted, whatever the set's card lists"
    for row in own:
        other = everything[row["sample"]]
        for key, value in row.items():
            assert other[key] == (pytest.approx(value, abs=1e-5) if key == "scores" else value)


def _check(cell: Cell, number: int, rows: list[dict], predictions: dict) -> None:
    """What the rows of every repeat say, and what is kept for the report to draw."""
    folder = cell.repeats[number].artefact.folder
    assert folder.names("masks") == ([f"{cell.task}.parquet"] if (cell.kind, number) == ("segmentation", 0) else [])
    if folder.exists("masks"):
        masks = folder.read_table("masks", f"{cell.task}.parquet")
        assert masks.schema.equals(MASKS_SCHEMA)
        assert masks["sample"].equals(folder.read_table("predictions", f"{cell.task}.parquet")["sample"])
    for row in rows:
        assert all(math.isfinite(e["val_metric"]) and e["step"] > 0 for e in row["evaluations"])
        assert [e["fold"] for e in row["evaluations"]] == [0] * len(row["evaluations"]) != []
    assert len(predictions) == 1
    assert [(row["metric"], row["objects"]) for row in rows] == [
        (name, "8-connected components" if name == "pq" else "") for name in METRICS[cell.kind]
    ]
    for row in rows:
        assert (row["repeat"], row["n_images"], row["n_test_images"], row["n_test_units"]) == (number, 9, 6, 3)
        assert 0 <= row["value"] <= 1
        assert len(row["classes"]) == 2
    artefact = cell.repeats[number].artefact
    table = artefact.folder.read_table("final.parquet")
    assert table.schema.equals(FINAL_SCHEMA)
    assert artefact.manifest()["timings"]["train_seconds"] == table["train_seconds"][0].as_py() > 0


@pytest.mark.parametrize("search", ["each", "once"])
def test_mixed_studies_killed_at_any_event_end_as_if_nothing_had_been(
    tmp_path: Path, inputs: Inputs, search: str
) -> None:
    transfer = TRANSFER.model_copy(update={"trials": 1, "search": search, "early_stopping": "none"})
    made = [[_cell(tmp_path / name, inputs, protocol, "classification", transfer) for protocol in ("svm", "finetune")]
            for name in ("calm", "killed")]  # fmt: skip
    calm, killed = made
    assert simulate(calm, transfer, data=str(inputs.data)) == {}
    for end in (0, 1, 2, 2, 3, 1, 2):
        with contextlib.suppress(Killed):
            simulate(killed, transfer, events=end, data=str(inputs.data))
    assert simulate(killed, transfer, at_once=2, data=str(inputs.data)) == {}
    assert outcome(killed) == outcome(calm)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_results_under_ray_are_the_same_to_the_bit(tmp_path: Path, inputs: Inputs, ray_session: None) -> None:
    here, there = _cells(tmp_path / "here", inputs), _cells(tmp_path / "there", inputs)
    data = str(inputs.data)
    assert simulate(here, TRANSFER, study="tiny", data=data) == {}
    wanted = {"study": "tiny", "seed": 0, "data": data, "threads": 1, "progress": Progress(quiet=True)}
    assert search(there, TRANSFER, trials_at_once=2, **wanted) == Found()
    assert outcome(there) == outcome(here)
    assert search(there, TRANSFER, **wanted) == Found()  # nothing is left to do


def test_a_run_after_the_data_was_away_and_moved_ends_as_if_nothing_had_been(
    tmp_path: Path, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    transfer = TRANSFER.model_copy(update={"trials": 2, "repeats": 1})
    calm, cell = (_cell(tmp_path / name, inputs, "finetune", "classification", transfer) for name in ("calm", "moved"))
    assert simulate([calm], transfer, data=str(inputs.data)) == {}
    moved = tmp_path / "elsewhere"
    shutil.copytree(inputs.data, moved)
    monkeypatch.setattr(images, "_opened", {})  # a new process has read nothing
    (moved / "sets").rename(moved / "away")
    (reason,) = simulate([cell], transfer, data=str(moved)).values()
    assert reason.startswith("trial 0: 4 attempts were lost, the last: task tiny-classification: ")
    assert ".png cannot be read" in reason
    (moved / "away").rename(moved / "sets")
    assert simulate([cell], transfer, data=str(moved)) == {}
    assert outcome([cell]) == outcome([calm])
