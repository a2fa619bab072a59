"""From a finished cell to an exported model, and from that to a scored patch set."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raysweep.backbones.checkpoint import CheckpointInfo, Reference, save_checkpoint
from raysweep.backbones.create import create_backbone
from raysweep.cli import main
from raysweep.errors import RequestError, WorkError
from raysweep.patches.codec import encode_jpeg
from raysweep.patches.schema import patch_schema
from raysweep.patches.write import write_patch_set
from raysweep.progress import Progress
from raysweep.randomness import stable_hash
from raysweep.storage import Artefact, Storage
from raysweep.study.export import export
from raysweep.study.kept_models import find_model
from raysweep.study.predict import Predicted, predict
from raysweep.sweep.cell import Cell, Repeat, repeat_inputs
from raysweep.sweep.space import load_space
from raysweep.tasks.card import Splits
from raysweep.tasks.read import read_sample
from raysweep.tasks.task import Task
from raysweep.transfer.features import compute_features
from raysweep.transfer.model_file import load_model
from raysweep.transfer.model_info import FOLDER, Trained, read_model_info, save_model
from raysweep.transfer.spec import TransferSpec
from tests.sweep.toy import simulate
from tests.transfer.tiny import PX, make_task

MPP = 0.5
KINDS = {"classification": "classification", "segmentation": "segmentation", "folded": "classification"}  # by task
TRANSFER = TransferSpec(trials=1, repeats=2, steps=2, evaluations=1, batch=4, early_stopping="none")


class Study:
    """A storage with a checkpoint, a task of each kind, and cells that were searched without Ray."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, Storage.open(folder / "runs/tiny")
        self.checkpoint = self.home.at("checkpoints", "random", "c0ffee00")
        self.info = CheckpointInfo(
            backbone="test_resnet", mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), init="random", licence="CC0"
        )
        save_checkpoint(self.checkpoint, create_backbone("test_resnet", seed=0).state_dict(), self.info)
        self.tasks: dict[str, Storage] = {}
        for name, kind in KINDS.items():
            made = make_task(folder / "data" / name, kind, [(PX, PX)] * 24)
            samples = [replace(sample, unit=f"unit{i // 2}") for i, sample in enumerate(made.samples)]
            card = made.card.model_copy(update={"mpp": MPP, "root": name, "name": name})
            if name == "folded":
                card = card.model_copy(update={"splits": Splits(type="folds", k=2)})
            self.tasks[name] = self.home.at("tasks", name)
            Task(card, folder / "data" / name, samples).save(self.tasks[name])

    def cell(self, protocol: str, task: str, transfer: TransferSpec = TRANSFER) -> str:
        """The folder of a finished cell, as `run` leaves it."""
        kind = KINDS[task]
        space = load_space(protocol, kind, {}, [])
        made = repeat_inputs(transfer, checkpoints=["c"], task=task, protocol=protocol, kind=kind, fraction=1.0,
                             space=space, seed=0)  # fmt: skip
        home = self.home.at("cells", "random", task, protocol, f"1-{transfer.keep_models}")
        features: tuple[Storage, ...] = ()
        if protocol != "finetune":
            artefact = Artefact(self.home.at("features", task), {})
            compute_features(self.checkpoint, self.tasks[task], artefact, data=self.data, threads=1, gpu=False)
            features = (artefact.folder,)
        repeats = tuple(
            Repeat(number, Artefact(home, made, str(number)), 0, (self.checkpoint,), features) for number in (0, 1)
        )
        cell = Cell("random", task, self.tasks[task], protocol, kind, 1.0, space, repeats)
        assert simulate([cell], transfer, study="tiny", data=self.data) == {}
        home.write_bytes(f"{repeats[0].artefact.fingerprint[:8]}\n".encode(), "current")
        return home.root

    @property
    def data(self) -> str:
        return str(self.folder / "data")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def cells(study: Study) -> dict[str, str]:
    """Folders of cells: by protocol of the classification task, and that of masks."""
    return {
        "finetune": study.cell("finetune", "classification"),
        "linear": study.cell("linear", "classification"),
        "masks": study.cell("finetune", "segmentation"),
    }


def images(kind: str, study: Study) -> list[np.ndarray]:
    task = Task.load(study.tasks[kind], study.data)
    return [read_sample(task, index)[0] for index in range(len(task.samples))]


def make_set(
    folder: Path, pictures: list[np.ndarray], *, mpp: float | None = MPP,
    columns: Mapping[str, Callable[[int], Any]] | None = None,
) -> str:  # fmt: skip
    """A patch set of these pictures, of two slides; level 0 is twice as fine."""
    rows = []
    for i, picture in enumerate(pictures):
        rows.append(
            {"image": {"bytes": encode_jpeg(picture, 95), "path": f"{i}.jpg"}, "slide": f"s/{i % 2}", "patient": None,
             "x": 64 * i, "y": 10, "mpp": mpp or np.nan, "source_mpp": (mpp or np.nan) / 2, "tissue": 1.0,
             "label": None, "mask": None, "split": None, "key": stable_hash("patch", i),
             **{name: make(i) for name, make in (columns or {}).items()}}
        )  # fmt: skip
    artefact = Artefact(Storage.open(folder), {"stage": "patches"})
    px = pictures[0].shape[0]
    write_patch_set(artefact, pa.Table.from_pylist(rows, schema=patch_schema()),
                    config={"um": mpp and px * mpp, "px": px}, shards=2)  # fmt: skip
    return artefact.folder.root


def run(model: str, patches: str, out: Path, **options: Any) -> Predicted:
    return predict(model, patches, out, threads=1, progress=Progress(quiet=True), **options)


@pytest.mark.parametrize("name", ["finetune", "linear"])
def test_an_exported_model_scores_test_images_as_the_final_did(
    study: Study, cells: dict[str, str], tmp_path: Path, name: str
) -> None:
    cell = Storage.open(cells[name])
    repeat = cell.at(cell.read_bytes("current").decode().strip(), "0")
    file = export(cells[name], tmp_path / "given")
    assert file == tmp_path / "given/model.safetensors"
    model = load_model(Storage.open(tmp_path / "given"), "model.safetensors")
    rows = repeat.read_table("predictions", "classification.parquet").to_pylist()
    pictures = images("classification", study)
    scores = model.predict(np.stack([pictures[int(row["sample"])] for row in rows]))
    np.testing.assert_allclose(scores, np.stack([row["scores"] for row in rows]), atol=1e-6)
    assert len(rows) == 6
    config = json.loads((tmp_path / "given/config.json").read_text())
    assert (config["classes"], config["input_size"], config["mpp"]) == (["dark", "bright"], [3, PX, PX], MPP)
    card = (tmp_path / "given/README.md").read_text()
    value = repeat.read_table("final.parquet")["value"][0].as_py()
    assert f"| classification | balanced_accuracy | {value:.4f} | 6 | 3 |" in card
    for said in ("Classes: dark, bright.", "18 labelled images of 9 units", "(16 um)", "CC0", "study tiny as random"):
        assert said in card


def test_each_fold_has_a_model_of_its_own(study: Study, tmp_path: Path) -> None:
    cell = Storage.open(study.cell("linear", "folded"))
    repeat = cell.at(cell.read_bytes("current").decode().strip(), "0")
    assert repeat.names(FOLDER) == ["fold0.safetensors", "fold1.safetensors"]
    export(cell.root, tmp_path, fold=1)
    model = load_model(Storage.open(tmp_path), "model.safetensors")
    assert model.info.fold == 1
    pictures = images("folded", study)
    rows = [r for r in repeat.read_table("predictions", "folded.parquet").to_pylist() if r["fold"] == 1]
    scores = model.predict(np.stack([pictures[int(row["sample"])] for row in rows]))
    np.testing.assert_allclose(scores, np.stack([row["scores"] for row in rows]), atol=1e-6)
    card = (tmp_path / "README.md").read_text()
    assert "The model is that of fold 1 of 2; the scores are those of all of them" in card
    with pytest.raises(RequestError, match=r"--fold 1: .* is an exported model, of one fold alone; leave it out"):
        find_model(str(tmp_path), 1)
    with pytest.raises(RequestError, match="is exported already; copy the folder"):
        export(str(tmp_path), tmp_path / "again")


def test_squares_count_from_the_corner_of_the_scanned_area(study: Study, cells: dict[str, str], tmp_path: Path) -> None:
    patches = Storage.open(make_set(tmp_path / "set", images("classification", study)[:2]))
    table = patches.read_table("slides.parquet")
    for name, edge in (("origin_x", 8), ("origin_y", 3)):
        table = table.append_column(name, pa.array([edge] * table.num_rows, pa.int64()))
    patches.write_table(table, "slides.parquet")
    run(cells["linear"], patches.root, tmp_path / "o.parquet", geojson=tmp_path / "q.geojson")
    (feature,) = json.loads((tmp_path / "q-s%2F1.geojson").read_text())["features"]
    assert feature["geometry"]["coordinates"][0][0] == [64 - 8, 10 - 3]


def test_only_the_first_repeat_keeps_its_model_and_none_says_so(study: Study, cells: dict[str, str]) -> None:
    cell = Storage.open(cells["finetune"])
    repeats = cell.at(cell.read_bytes("current").decode().strip())
    assert repeats.at("0").names(FOLDER) == ["fold0.safetensors"]
    assert not repeats.at("1").exists(FOLDER)
    assert find_model(repeats.root, None) == find_model(cell.root, 0) == find_model(repeats.path("0"), None)
    for path, sentence in (
        (repeats.path("1"), "it is repeat 1, and only repeat 0 keeps its model; give the folder 0 beside it"),
        (study.cell("linear", "classification", TRANSFER.model_copy(update={"keep_models": "none"})), "no model was "
         "kept here; set transfer.keep_models: first, remove this folder and run the study again"),
    ):  # fmt: skip
        for use in (export, find_model):
            with pytest.raises(RequestError, match=f"^{path}: {sentence}"):
                use(path, None) if use is find_model else use(path, study.folder / "x")  # type: ignore[operator]
    with pytest.raises(RequestError, match="there is no fold 4: the task has 1, counted from 0"):
        find_model(cell.root, 4)


def test_weights_that_must_not_be_passed_on_are_used_in_place_alone(
    study: Study, cells: dict[str, str], tmp_path: Path
) -> None:
    kept = find_model(cells["finetune"], None)
    info = read_model_info(kept.folder, *kept.parts)
    copy = Storage.open(tmp_path / "copy/0")
    for file in ("manifest.json", "final.parquet"):
        copy.write_bytes(kept.folder.read_bytes(file), file)
    trained = [
        {"reference": Reference(card="uni2-h", hash="x")},
        {"parents": [{"init": "published:virchow2:0123456789abcdef"}], "init": "checkpoint:x"},
    ]
    for update in trained:
        restricted = info.model_copy(update={"checkpoint": info.checkpoint.model_copy(update=update)})
        save_model(copy, Trained({}, restricted))
        with pytest.raises(RequestError, match=r"the licence of (uni2-h|virchow2) forbids to pass on its weights"):
            export(copy.root, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert study.info.licence == "CC0"


def test_every_patch_has_a_row_in_the_order_of_the_set(study: Study, cells: dict[str, str], tmp_path: Path) -> None:
    pictures = images("classification", study)
    patches = make_set(tmp_path / "set", pictures)
    found = run(cells["finetune"], patches, tmp_path / "new/out.parquet", geojson=tmp_path / "q.geojson")
    table = pq.read_table(tmp_path / "new/out.parquet")
    assert (found.patches, found.failed, table.num_rows) == (24, 0, 24)
    assert table.column_names == [
        "slide", "x", "y", "key", "predicted", "probability_dark", "probability_bright", "reason",
    ]  # fmt: skip
    rows = table.to_pylist()
    assert [row["key"] for row in rows] == sorted(stable_hash("patch", i) for i in range(24))
    kept = find_model(cells["finetune"], None)
    model = load_model(kept.folder, *kept.parts)
    for row in rows:
        (wanted,) = model.predict(_stored(pictures[row["x"] // 64])[None])
        np.testing.assert_allclose([row["probability_dark"], row["probability_bright"]], wanted, atol=1e-6)
        assert row["predicted"] == ("dark", "bright")[int(wanted.argmax())]
        assert (row["slide"], row["y"], row["reason"]) == (f"s/{row['x'] // 64 % 2}", 10, None)
    assert sorted(found.geojson) == [tmp_path / "q-s%2F0.geojson", tmp_path / "q-s%2F1.geojson"]
    features = json.loads((tmp_path / "q-s%2F1.geojson").read_text())
    assert features["type"] == "FeatureCollection"
    assert len(features["features"]) == 12
    of = {row["x"]: row for row in rows}
    for feature in features["features"]:
        ring = np.array(feature["geometry"]["coordinates"][0])
        assert ring.min(0).tolist()[1] == 10
        assert (ring.max(0) - ring.min(0)).tolist() == [2 * PX, 2 * PX]
        assert ring[0].tolist() == ring[-1].tolist()
        row, said = of[ring[:, 0].min()], feature["properties"]
        assert said["objectType"] == "tile"
        assert said["classification"]["name"] == row["predicted"]
        assert len(said["classification"]["color"]) == 3
        assert said["measurements"]["probability_dark"] == pytest.approx(row["probability_dark"], abs=1e-6)
    assert not list(tmp_path.rglob(".tmp-*"))


def test_the_commands_say_what_they_wrote(
    study: Study, cells: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    pictures = images("classification", study)[:3]
    bad = {"bytes": b"no", "path": "p.jpg"}
    whole = [{"bytes": encode_jpeg(p, 95), "path": "p.jpg"} for p in pictures]
    patches = make_set(tmp_path / "set", pictures, columns={"image": lambda i: bad if i == 2 else whole[i]})
    given, out, geojson = (str(tmp_path / name) for name in ("given", "out.parquet", "q.geojson"))

    def called(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["raysweep", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        return int(stop.value.code or 0), capfd.readouterr().out

    assert called("export", cells["linear"], "--out", given) == (0, f"{given}/model.safetensors\n")
    code, said = called("predict", given, patches, "--out", out, "--geojson", geojson, "--threads", "1")
    assert code == 3
    assert f"{out}: 3 patches\n" in said
    assert "q-s%2F" in said
    assert "1 patches could not be decoded (the first: picture cannot be decoded" in said


def test_masks_give_the_part_of_the_area(cells: dict[str, str], study: Study, tmp_path: Path) -> None:
    patches = make_set(tmp_path / "set", images("segmentation", study)[:6])
    export(cells["masks"], tmp_path / "given")
    run(str(tmp_path / "given"), patches, tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    fractions = np.stack([table["fraction_dark"].to_numpy(), table["fraction_bright"].to_numpy()], 1)
    np.testing.assert_allclose(fractions.sum(1), 1, atol=1e-6)
    model = load_model(Storage.open(tmp_path / "given"), "model.safetensors")
    (scores,) = model.predict(_stored(images("segmentation", study)[table["x"][0].as_py() // 64])[None])
    assert fractions[0, 1] == pytest.approx((scores.argmax(-1) == 1).mean(), abs=1e-6)


def test_patches_are_brought_to_the_models_scale(study: Study, cells: dict[str, str], tmp_path: Path) -> None:
    pictures = images("classification", study)[:2]
    kept = find_model(cells["finetune"], None)
    model = load_model(kept.folder, *kept.parts)

    def scored(mpp: float | None, edge: int, **options: Any) -> np.ndarray:
        folder = tmp_path / f"{mpp}-{edge}"
        resized = [np.asarray(Image.fromarray(p).resize((edge, edge))) for p in pictures]
        patches = make_set(folder, resized, mpp=mpp)
        run(cells["finetune"], patches, folder / "o.parquet", **options)
        table = pq.read_table(folder / "o.parquet").sort_by("x")
        wanted = np.array([_at(picture, model, size_of(mpp, edge)) for picture in resized])
        return wanted, table["probability_dark"].to_numpy()

    def size_of(mpp: float | None, edge: int) -> int:
        size = round(edge * (mpp or MPP) / MPP)
        return PX if abs(size - PX) <= 0.1 * PX else size

    for mpp, edge, options in (
        (MPP * 1.05, PX, {}),
        (MPP, 2 * PX, {}),
        (2 * MPP, PX // 2, {"any_scale": True}),
        (2 * MPP, PX, {"any_scale": True}),
        (None, PX, {"any_scale": True}),
    ):
        wanted, found = scored(mpp, edge, **options)
        np.testing.assert_allclose(found, wanted, atol=1e-6, err_msg=f"{mpp} {edge}")
    with pytest.raises(RequestError, match=r"have 1 um per pixel and the model was trained at 0\.5; tile at um=16"):
        scored(2 * MPP, PX)
    with pytest.raises(RequestError, match="the um per pixel of its patches are not known"):
        scored(None, PX)
    one_by_one = make_set(tmp_path / "mixed", pictures, mpp=None, columns={"mpp": lambda i: MPP * (1 + i)})
    with pytest.raises(RequestError, match="its patches have 1 um per pixel"):
        run(cells["finetune"], one_by_one, tmp_path / "mixed.parquet")
    assert not (tmp_path / "mixed.parquet").exists()


def test_a_patch_that_cannot_be_decoded_is_a_row_with_the_reason(
    study: Study, cells: dict[str, str], tmp_path: Path
) -> None:
    pictures = images("classification", study)[:5]
    whole = [{"bytes": encode_jpeg(p, 95), "path": "p.jpg"} for p in pictures]
    bad = {"bytes": b"no", "path": "p.jpg"}
    patches = make_set(tmp_path / "set", pictures, columns={"image": lambda i: bad if i == 3 else whole[i]})
    found = run(cells["linear"], patches, tmp_path / "out.parquet", geojson=tmp_path / "q.geojson")
    assert (found.patches, found.failed) == (5, 1)
    assert "picture cannot be decoded" in found.reason
    rows = pq.read_table(tmp_path / "out.parquet").sort_by("x").to_pylist()
    assert [row["predicted"] is None for row in rows] == [False, False, False, True, False]
    assert rows[3]["probability_dark"] is None
    assert rows[3]["reason"] == found.reason
    broken = make_set(tmp_path / "broken", pictures[:2], columns={"image": lambda i: bad})
    with pytest.raises(WorkError, match="no patch could be decoded"):
        run(cells["linear"], broken, tmp_path / "none.parquet", geojson=tmp_path / "none.geojson")
    assert not list(tmp_path.glob("none*"))
    assert not list(tmp_path.glob(".tmp-*"))


def test_wrong_folders_are_one_sentence(study: Study, cells: dict[str, str], tmp_path: Path) -> None:
    patches = make_set(tmp_path / "set", images("classification", study)[:2])
    for model, of, sentence in (
        (str(tmp_path / "gone"), patches, "gone: no trained model here; give a folder below cells/"),
        (study.checkpoint.root, patches, "no trained model here"),
        (cells["linear"], cells["linear"], "no complete patch set here; give a folder below patches/"),
    ):
        with pytest.raises(RequestError, match=sentence):
            run(model, of, tmp_path / "out.parquet")
    export(study.checkpoint.root, tmp_path / "timm")
    with pytest.raises(RequestError, match=r"model\.safetensors: no trained model of raysweep"):
        run(str(tmp_path / "timm"), patches, tmp_path / "out.parquet")
    with pytest.raises(RequestError, match="is a checkpoint, which has no folds"):
        export(study.checkpoint.root, tmp_path / "timm", fold=1)
    with pytest.raises(RequestError, match="gone: no checkpoint here, and no cell whose first repeat is finished"):
        export(str(tmp_path / "gone"), tmp_path / "x")
    assert not (tmp_path / "out.parquet").exists()


def _stored(picture: np.ndarray) -> np.ndarray:
    from raysweep.patches.codec import decode

    return decode(encode_jpeg(picture, 95))


def _at(picture: np.ndarray, model, size: int) -> float:
    resized = np.asarray(Image.fromarray(_stored(picture)).resize((size, size), Image.Resampling.BICUBIC))
    return float(model.predict(resized[None])[0, 0])
