"""A task's further test sets in a study: what is refused, what is planned and what comes of it."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from raysweep.errors import RequestError
from raysweep.progress import Progress
from raysweep.report.seen import LABELS, NONE
from raysweep.storage import shipped
from raysweep.study.clean import unused
from raysweep.study.graph import Graph, build_graph
from raysweep.study.load import load_study
from raysweep.study.plan import plan_rows
from raysweep.study.run import run_study
from tests.drawn import copy_sets

_TRANSFER = {"protocols": ["finetune", "linear"], "repeats": 1, "trials": 1, "steps": 2, "evaluations": 1, "batch": 4,
             "fractions": [0.5]}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn tissue; `other`, the same upside down; and `mixed`, which holds a training image of the first."""
    folder = tmp_path_factory.mktemp("sets")
    copy_sets(folder)
    shutil.copytree(folder / "demo-tissue", folder / "other")
    for path in (folder / "other/images").iterdir():
        Image.open(path).transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(path)
    shutil.copytree(folder / "other", folder / "mixed")
    train = next(row["image"] for row in _rows(folder / "demo-tissue/labels.csv") if row["split"] == "train")
    test = next(row["image"] for row in _rows(folder / "mixed/labels.csv") if row["split"] == "test")
    shutil.copy(folder / "demo-tissue" / train, folder / "mixed" / test)
    return folder


def _rows(table: Path) -> list[dict[str, str]]:
    with open(table, newline="") as file:
        return list(csv.DictReader(file))


class Study:
    """One checkpoint, drawn tissue as the task, and cards of further sets beside it."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder, self.data = folder, data
        for name in ("other", "mixed"):
            self.card(name)

    def card(self, name: str, **keys: Any) -> None:
        card = yaml.safe_load((shipped("datasets") / "demo-tissue.yaml").read_text())
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(card | {"name": name, "root": name} | keys))

    def write(self, tasks: list, **keys: Any) -> Path:
        study = {"name": "cross", "storage": str(self.folder / "runs"), "data": str(self.data), "tasks": tasks,
                 "checkpoints": {"random": {"backbone": "test_resnet"}}, "transfer": _TRANSFER, **keys}  # fmt: skip
        path = self.folder / "cross.yaml"
        path.write_text(yaml.safe_dump(study, sort_keys=False))
        return path

    def graph(self, tasks: list, **keys: Any) -> Graph:
        return build_graph(load_study(self.write(tasks, **keys)))

    def on(self, *test_sets: str, **keys: Any) -> Graph:
        return self.graph([{"card": "demo-tissue", "test_sets": list(test_sets)}], **keys)


@pytest.fixture
def study(tmp_path: Path, data: Path) -> Study:
    return Study(tmp_path, data)


def test_what_cannot_be_a_further_test_set_is_refused(study: Study) -> None:
    task = "task demo-tissue: test_sets: "
    for name, says in (
        ("demo-tissue", f"^{task}demo-tissue is the task itself"),
        ("demo-glands", f"^{task}demo-glands is a segmentation set"),
        ("othr", "^tasks: no card is called othr; there is .*other"),
    ):
        with pytest.raises(RequestError, match=says):
            study.on(name)
    with pytest.raises(RequestError, match=r"^tasks: unknown key test_setz; did you mean test_sets\?"):
        study.graph([{"card": "demo-tissue", "test_setz": ["other"]}])
    with pytest.raises(RequestError, match=r"^tasks: test_sets: name every set once"):
        study.on("other", "other")
    study.card("other", classes=["stroma", "gland", "lymphoid"])
    with pytest.raises(
        RequestError, match=f"^{task}other has the classes stroma, gland, lymphoid, and the task gland,"
    ):
        study.on("other")
    study.card("other", licence={"name": "ask first", "restricted": True})
    with pytest.raises(RequestError, match=r"^task other: its licence \(ask first\) is not accepted yet"):
        study.on("other")
    study.card("other", mpp=0.5)
    with pytest.raises(RequestError, match=f"^{task}other is worked at 0.5 um per pixel, and the task at 1; "):
        study.on("other")


def test_no_unit_may_be_trained_on_and_tested(study: Study, data: Path) -> None:
    with pytest.raises(RequestError) as caught:
        study.on("mixed")
    patient = next(row["patient"] for row in _rows(data / "mixed/labels.csv") if row["split"] == "test")
    assert str(caught.value) == (
        f"task demo-tissue: test_sets: mixed tests 1 patient that the task trains on ({patient}); take them out of one "
        "of the two sets"
    )
    study.card("same", root="demo-tissue", splits={"type": "holdout"})  # another division of the same files
    with pytest.raises(RequestError, match=r"same tests 56 patients|same tests 32 patients"):
        study.on("same")


def test_a_further_test_set_is_of_finals_alone(study: Study) -> None:
    plain, more = study.on(), study.on("other")
    for one, two in zip(plain.cells, more.cells, strict=True):
        own, crossed = one.repeats[0].artefact, two.repeats[0].artefact
        assert own.fingerprint != crossed.fingerprint
        assert {**own.inputs, "test_sets": crossed.inputs["test_sets"]} == crossed.inputs
        assert list(two.test_sets) == ["other"]
    added = {a.folder.root for a in more.artefacts()} - {a.folder.root for a in plain.artefacts()}
    rooms = sorted(root.removeprefix(more.home.root).split("/")[1] for root in added)
    assert rooms == ["cells", "cells", "features", "tasks"], "the index, and features for linear"
    assert set(more.leakage) == {("random", "demo-tissue"), ("random", "demo-tissue", "other")}
    assert more.leakage["random", "demo-tissue", "other"].word == NONE
    notes = plan_rows(load_study(study.folder / "cross.yaml"))[2]
    assert "task demo-tissue is also tested on other: 72 images, its own test part" in notes


def test_weights_that_were_taught_the_labels_of_a_further_set_are_refused(study: Study) -> None:
    study.card("other", splits={"type": "holdout"})
    checkpoints = {"random": {"backbone": "test_resnet"},
                   "taught": {"backbone": "test_resnet", "method": "supervised", "patches": "other"}}  # fmt: skip
    with pytest.raises(RequestError, match=r"^checkpoints.taught: .* what test set other of task demo-tissue tests"):
        study.on("other", checkpoints=checkpoints)
    allowed = ["taught/demo-tissue/other"]
    found = study.on("other", checkpoints=checkpoints, allow_leakage=allowed).leakage
    assert found["taught", "demo-tissue", "other"].word == LABELS
    assert found["taught", "demo-tissue"].word == NONE


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_tasks_are_tested_on_each_other(study: Study, ray_session: None) -> None:
    """The whole chain, and another test set after it."""
    study.card("other", px=96)
    tasks = ["demo-tissue", {"card": "other", "test_sets": ["demo-tissue"]}]
    path = study.write(tasks)
    assert run_study(load_study(path), progress=Progress(quiet=True)).failures == []
    tasks[0] = {"card": "demo-tissue", "test_sets": ["other"]}
    path = study.write(tasks)
    home = study.folder / "runs/cross"
    journals = {p.relative_to(home).parts[1:5] for p in home.glob("cells/*/*/finetune/*/*/0/journal/*")}
    assert len(journals) == 2
    assert run_study(load_study(path), progress=Progress(quiet=True)).failures == []

    rows = _rows(home / "report/tables/results.csv")
    assert sorted({(row["protocol"], row["task"], row["test set"]) for row in rows}) == [
        (protocol, task, test_set) for protocol in ("finetune", "linear") for task in ("demo-tissue", "other")
        for test_set in ("demo-tissue", "other")
    ]  # fmt: skip
    assert {row["test images"] for row in rows} == {"72"}
    matrix = _rows(home / "report/tables/matrix.csv")
    assert [(row["protocol"], row["trained on"]) for row in matrix] == [
        (protocol, task) for protocol in ("finetune", "linear") for task in ("demo-tissue", "other")
    ]
    assert all(row[f"on {name}"] for row in matrix for name in ("demo-tissue", "other"))
    left = [name for name, _ in unused(load_study(path))]
    assert sorted(name.split("/")[:4] for name in left) == [
        ["cells", "random", "demo-tissue", "finetune"], ["cells", "random", "demo-tissue", "linear"]
    ]  # fmt: skip
    features = sorted(p.relative_to(home).parts[2] for p in home.glob("features/random/*/*/features.npy"))
    assert features == ["demo-tissue"] * 2 + ["other"] * 2, "at the px of either task"
