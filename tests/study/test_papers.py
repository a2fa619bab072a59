"""Dry runs of the papers' own studies: all stages to the report, on a few small images in the original layouts."""

import io
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from raysweep.patches.schema import patch_schema
from raysweep.patches.write import write_patch_set
from raysweep.progress import Progress
from raysweep.slides.identity import Identities
from raysweep.storage import Storage
from raysweep.study.load import StudyFile, load_study
from raysweep.study.own_sets import plan_own_sets
from raysweep.study.plan import plan_rows
from raysweep.study.run import run_study
from raysweep.study.tasks import load_cards
from tests.study.mini import results
from tests.study.papers import (
    cut_cards,
    licences,
    write_dry_run,
    write_kataria,
    write_kawai,
    write_mormont,
    write_originals,
    write_weights,
)

_WHOLE = {  # the sets of the pool that are single images, and how many the paper's table has
    "janowczyk6": 277_524, "stroma-lbp": 2_313, "umcm": 5_000, "necrosis": 882, "proliferative-pattern": 1_857,
    "cell-inclusion": 3_637, "mouse-lba": 4_284, "human-lba": 5_420, "lung": 6_331, "glomeruli": 29_213,
    "bonemarrow": 1_291,
}  # fmt: skip
_TILED = {"breast1": (23_032, 34), "breast2": (17_523, 34)}  # those that are tested and cut of slides: images, patients
_CARDS = [*_WHOLE, *_TILED, "mitos-atypia14", "warwick-crc", "janowczyk1", "janowczyk2", "janowczyk5", "janowczyk7",
          "tupac16-mitosis", "bach-micro", "camelyon16-patches"]  # fmt: skip
_SEARCH = {"repeats": 1, "trials": 2, "steps": 2, "evaluations": 1, "batch": 4}


def _run(path: Path) -> tuple[list[dict], str]:
    """Its result rows and its page."""
    file = load_study(path)
    outcome = run_study(file, progress=Progress(quiet=True))
    assert not outcome.failures
    assert outcome.report is not None
    page = " ".join(outcome.report.read_bytes("index.html").decode().split())
    assert str(file.study.question) in page
    return results(path.parent, "dry"), page


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_kataria_2023(tmp_path: Path) -> None:
    names = ["glas", "crag", "kumar", "cpm17", "tnbc"]
    write_kataria(tmp_path / "data")
    cut_cards(tmp_path, names)
    weights = {kind: {"backbone": "test_resnet", "init": str(write_weights(tmp_path / f"{kind}.safetensors"))}
               for kind in ("imagenet", "ssl-imagenet", "ssl-pathology")}  # fmt: skip
    path = write_dry_run(
        "kataria2023", tmp_path, ["random", *weights], checkpoints={**weights, "random": {"backbone": "test_resnet"}},
        accept_licences=licences(names), transfer=_SEARCH | {"fractions": [1.0]},
    )  # fmt: skip
    rows, _ = _run(path)
    assert {row["checkpoint"] for row in rows} == {"random", *weights}
    pairs = {(row["task"], row["test_set"]) for row in rows}
    glands, nuclei = ("glas", "crag"), ("kumar", "cpm17", "tnbc")
    assert pairs == {(a, b) for kind in (glands, nuclei) for a in kind for b in kind}


@pytest.mark.long
@pytest.mark.usefixtures("ray_session")
def test_kawai_2023(tmp_path: Path) -> None:
    names = ["pcam", "pcam200", "segpanda200"]
    write_kawai(tmp_path / "data")
    cut_cards(tmp_path, names)
    study = load_study("kawai2023", ["data=."]).study
    organs = ["kidney", "thymus"]
    card = {**study.tasks[0], "classes": organs, "px": 32}
    for key in ("mpp", "at_mpp"):
        del card[key]
    small = {"backbone": "test_resnet", "px": 32, "epochs": 1, "batch": 4}
    path = write_dry_run(
        "kawai2023", tmp_path,
        ["imagenet-resnet50", "random-resnet50", "supervised-resnet50", "byol-resnet50", "retrained-resnet50"],
        checkpoints={
            "imagenet-resnet50": {"backbone": "test_resnet", "init": str(write_weights(tmp_path / "in.safetensors"))},
            "random-resnet50": {"backbone": "test_resnet"},
            "supervised-resnet50": small, "byol-resnet50": small,
            "retrained-resnet50": {k: v for k, v in small.items() if k != "backbone"},
        },
        patches={"ptcga200": {
            "um": 50, "px": 100, "split": {"val": 0.2, "test": 0.2},
            "labels": {"classes": {name: None for name in study.patches["ptcga200"].labels.classes
                                   if name not in organs}},
        }},
        tasks=[card, *names], accept_licences=licences(names),
        transfer={**_SEARCH, "epochs": None},
    )  # fmt: skip
    rows, _ = _run(path)
    assert {row["task"] for row in rows} == {"ptcga200-organs", *names}
    assert len({row["checkpoint"] for row in rows}) == 5


def _stub(tmp_path: Path, n_images: dict[str, int], tiled: dict[str, tuple[int, int]], home: Path) -> StudyFile:
    """Mormont's study with sets of so many images, the tiled ones as if they had been."""
    data = tmp_path / "data"
    write_mormont(data, n_images)
    file = load_study("mormont2020", [f"data={data}", f"storage={home}", f"accept_licences={licences(_CARDS)}"])
    file = replace(file, files=(tmp_path / "study.yaml", *file.files))
    study = Storage.open(home).at("mormont2020")
    plans = plan_own_sets(file, study, Identities(study), load_cards(file))
    assert set(plans) == set(tiled)
    dot = io.BytesIO()
    Image.new("RGB", (8, 8)).save(dot, "PNG")
    for name, plan in plans.items():
        n, patients = tiled[name]
        plain = {"y": 0, "mpp": 0.5, "source_mpp": 0.5, "tissue": 1.0, "mask": None, "split": None}
        rows = [
            {**plain, "image": {"bytes": dot.getvalue(), "path": f"{i}.png"}, "slide": f"s{i % patients}",
             "patient": f"p{i % patients}", "x": i, "label": i % 2, "key": i}
            for i in range(n)
        ]  # fmt: skip
        table = pa.Table.from_pylist(rows, schema=patch_schema(["other", "tumor"]))
        write_patch_set(plan.artefact, table, config={"um": None, "px": plan.spec.px, "mpp": None})
    return file


@pytest.mark.long
def test_the_plan_of_mormont_2020_tells_its_1920_pretrainings(tmp_path: Path) -> None:
    few = dict.fromkeys(_WHOLE, 96)
    cut_cards(tmp_path, [*_WHOLE, *_TILED], px=224)
    file = _stub(tmp_path, few, dict.fromkeys(_TILED, (96, 12)), tmp_path / "runs")
    _, rows, notes = plan_rows(file)
    told = {row[1]: row[3] for row in rows if row[0] == "pretrain"}
    for net in ("resnet50", "densenet121"):
        many = told[f"checkpoint multitask-{net}"]
        assert many.startswith("960 pretrainings (24 points x 8 members x 5 seeds): 50,000 steps of 64")
        assert told[f"checkpoint joint-{net}"].startswith("50 pretrainings (10 members x 5 seeds)")
    counts = {"multitask-resnet50": 960, "multitask-densenet121": 960, "joint-resnet50": 50, "joint-densenet121": 50}
    in_words = ", ".join(f"{n} of {name}" for name, n in counts.items())
    assert f"to pretrain: 2,020 checkpoints, {in_words}" in notes
    hours = next(note for note in notes if "device-hours" in note)
    assert "pretraining " in hours
    assert len(rows) < 400, "points of a grid are told together"
    cells = {row[1]: row[3] for row in rows if row[1].startswith("cell multitask-resnet50")}
    assert cells["cell multitask-resnet50 (24 points) / lung / svm / 1"] == "120 repeats: no trials, 120 finals"
    assert cells["cell multitask-resnet50 (24 points) / lung / finetune / 1"] == "5 repeats: 20 trials, 5 finals"


@pytest.mark.long
def test_the_pool_of_mormont_2020_has_the_papers_numbers(tmp_path: Path) -> None:
    """A stub tree as large as the paper's table: counts are those that the cards demand."""
    file = _stub(tmp_path, _WHOLE, _TILED, tmp_path / "runs")
    _, rows, notes = plan_rows(file)
    assert any(note.startswith("to pretrain: 2,020 checkpoints") for note in notes)
    sources = {row[1]: row[3] for row in rows if row[1].startswith("source")}
    for name, n in _WHOLE.items():
        assert sources[f"source {name}"] == f"{n:,} images"


@pytest.mark.long
@pytest.mark.usefixtures("ray_session")
def test_mormont_2020(tmp_path: Path) -> None:
    """Its 22 sets, two of which are tiled before all else; of the tasks four, two of them related."""
    write_mormont(tmp_path / "data", dict.fromkeys(_WHOLE, 48))
    shutil.rmtree(tmp_path / "data/bach-micro")
    for folder in ("janowczyk7", *(name for name in _CARDS if (tmp_path / "data" / name / "slides.csv").exists())):
        shutil.rmtree(tmp_path / "data" / folder)
    write_originals(tmp_path / "data")
    cut_cards(tmp_path, [*_WHOLE, *_TILED], splits={"type": "holdout", "test": 0.34})
    pool = load_study("mormont2020_pool", ["data=."]).study.patches
    sizes = {name: {"px": 32, "tissue": "all", "slide_mpp": 0.5} for name in pool}
    sizes["camelyon16-patches"] |= {"um": 16}
    small = {"px": 32, "steps": 2, "batch": 32, "seeds": 1}
    point = {"lr": 0.01, "options": {"warmup_steps": 1}}
    one = {"lr": [0.01], "warmup_steps": None, "head_lr_factor": None}
    space = {"svm_classification": {"C": {"values": [0.01], "default": 0.01}}}
    path = write_dry_run(
        "mormont2020", tmp_path, ["imagenet-resnet50", "random-resnet50", "multitask-resnet50", "joint-resnet50"],
        checkpoints={
            "imagenet-resnet50": {"backbone": "test_resnet", "init": str(write_weights(tmp_path / "in.safetensors"))},
            "random-resnet50": {"backbone": "test_resnet"},
            "multitask-resnet50": {**small, **point, "grid": one},
            "joint-resnet50": {**small, **point},
        },
        patches=sizes, tasks=["necrosis", "lung", "breast2", "breast1"],
        accept_licences=licences([*_CARDS, "umcm"]),
        transfer={**_SEARCH, "epochs": None, "spaces": space},
    )  # fmt: skip
    rows, _ = _run(path)
    assert {row["task"] for row in rows} == {"necrosis", "lung", "breast2", "breast1"}
    assert {row["protocol"] for row in rows} == {"svm", "finetune"}
    assert {row["checkpoint"] for row in rows} == {"imagenet-resnet50", "random-resnet50", "multitask-resnet50",
                                                   "joint-resnet50"}  # fmt: skip
