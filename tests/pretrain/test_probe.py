"""The probe looks on: it finds what features tell, sees the train split alone, and changes nothing."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from raysweep.backbones.checkpoint import FILE
from raysweep.backbones.create import create_backbone
from raysweep.errors import WorkError
from raysweep.pretrain.inputs import make_method, method_names
from raysweep.pretrain.log import SAID
from raysweep.pretrain.loop import build_module, train
from raysweep.pretrain.probe import Probe, ProbeInput, cross_validated, probed_samples
from raysweep.storage import Storage
from raysweep.tasks.card import Card
from raysweep.tasks.sample import Sample
from raysweep.tasks.task import Task
from tests.pretrain.conftest import PX
from tests.pretrain.ranks import SOURCES, job, run_in_two_parts


def make_task(folder: Path, *, n: int = 24, units: int = 6) -> Task:
    """Striped images for training, two classes, each in every unit; those of the test split have no file at all."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    samples = []
    for i in range(n):
        picture = rng.normal(150, 30, (PX, PX, 3))
        picture[:: i % 2 + 2] *= 0.3
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"images/{i}.png")
        samples.append(Sample(str(i), f"images/{i}.png", None, i % 2, f"u{i // 2 % units}", "train"))
    samples += [Sample(f"t{i}", f"images/none-{i}.png", None, i % 2, f"t{i}", "test") for i in range(4)]
    card = Card.model_validate(
        {"name": "stripes", "kind": "classification", "classes": ["two", "three"], "source": "drawn", "root": ".",
         "licence": {"name": "CC0"}, "layout": {"type": "image_folder"}, "unit": "patient", "px": PX,
         "splits": {"type": "given"}, "metrics": ["balanced_accuracy"]}
    )  # fmt: skip
    return Task(card, folder, samples)


@pytest.fixture
def given(tmp_path: Path) -> Callable[..., ProbeInput]:
    """given(every=1, **of_task): the saved task."""

    def make(every: int = 1, **of_task: int) -> ProbeInput:
        folder = Storage.open(tmp_path / "task")
        make_task(tmp_path / "data", **of_task).save(folder)
        return ProbeInput(folder, str(tmp_path / "data"), 0, every)

    return make


def probe_of(given: ProbeInput, said: list[str]) -> Probe:
    return Probe(
        given, seed=0, mean=(0.5,) * 3, std=(0.2,) * 3, device=torch.device("cpu"), threads=1, say=said.append
    )  # fmt: skip


def lines(folder: Storage) -> list[dict]:
    return [json.loads(line) for line in folder.read_bytes("metrics.jsonl").splitlines()]


def test_features_that_tell_the_classes_apart_are_found_and_others_are_not() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 40)
    units = np.tile(np.arange(20), 6)
    good = np.eye(8)[labels] + rng.normal(0, 0.1, (120, 8))
    found = cross_validated(good, labels, units, threads=1)
    assert found == {"probe": 1.0, "knn": 1.0}
    poor = cross_validated(rng.normal(0, 1, (120, 8)), labels, units, threads=1)
    assert all(0.15 < value < 0.5 for value in poor.values())
    rare = np.concatenate([labels[:80], labels[80:84]])  # the accuracy is balanced: a rare class weighs as much
    lost = cross_validated(np.where(rare[:, None] == 2, good[0], good[:84]), rare, np.arange(84) // 2, threads=1)
    assert lost["knn"] == pytest.approx(2 / 3, abs=0.05)


def test_no_image_is_told_by_others_of_its_unit() -> None:
    """Features that name the unit, whose classes are as luck would have it: nothing can be told of a new unit."""
    rng = np.random.default_rng(1)
    units = np.repeat(np.arange(16), 40)
    labels = rng.permutation(16)[units] % 2
    features = rng.normal(0, 1, (16, 64))[units] + rng.normal(0, 0.01, (640, 64))
    assert max(cross_validated(features, labels, units, threads=1).values()) < 0.75
    alone = cross_validated(features, labels, np.arange(640), threads=1)
    assert min(alone.values()) > 0.95


@pytest.mark.parametrize(("labels", "units"), [([0, 0, 0, 0], [0, 1, 2, 3]), ([0, 0, 1, 1], [0, 1, 2, 2])])
def test_too_few_units_are_refused(labels: list[int], units: list[int]) -> None:
    with pytest.raises(WorkError, match="two units"):
        cross_validated(np.eye(4), np.array(labels), np.array(units), threads=1)


def test_at_most_a_thousand_images_of_the_train_split_are_drawn_by_the_seed(tmp_path: Path) -> None:
    task = make_task(tmp_path / "data", n=4)
    assert probed_samples(task, 0, 0) == [0, 1, 2, 3]
    many = [Sample(str(i), "x.png", None, i % 2, f"u{i}", "test" if i % 10 == 0 else "train") for i in range(1500)]
    drawn = probed_samples(replace(task, samples=many), 0, 0)
    assert len(set(drawn)) == 1000
    assert drawn == sorted(drawn)
    assert all(many[i].split == "train" for i in drawn)
    other = probed_samples(replace(task, samples=many), 0, 1)
    assert 200 < len(set(drawn) - set(other)) < 350
    backwards = probed_samples(replace(task, samples=many[::-1]), 0, 0)
    assert {many[::-1][i].id for i in backwards} == {many[i].id for i in drawn}


class Fickle(nn.Module):
    """A part that is frozen in a network that is trained, with random numbers in between."""

    def __init__(self) -> None:
        super().__init__()
        self.net = create_backbone("test_resnet", seed=0)
        self.frozen = nn.BatchNorm1d(96).eval()
        self.drop = nn.Dropout(0.5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        torch.rand(3)
        return self.drop(self.frozen(self.net(images)))


def test_nothing_of_the_network_and_of_luck_is_changed(given: Callable[..., ProbeInput]) -> None:
    said: list[str] = []
    network = Fickle().train()
    network.frozen.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    probe = probe_of(given(), said)
    first, again = probe.after(network, 1), probe.after(network, 2)
    assert torch.equal(torch.rand(4), expected)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [module.training for module in network.modules()] == modes
    assert said == []
    assert {"probe", "knn", "probe_seconds"} == first.keys()
    assert (first["probe"], first["knn"]) == (again["probe"], again["knn"]), "dropout is off"


@pytest.mark.parametrize("method", method_names())
def test_what_any_method_exports_can_be_probed(method: str, given: Callable[..., ProbeInput]) -> None:
    said: list[str] = []
    chosen = make_method(method, {})
    module = build_module(chosen, create_backbone("test_vit", seed=0), SOURCES, 0).train()
    found = probe_of(given(), said).after(chosen.exported(module), 1)
    assert said == []
    assert found["knn"] >= 0.5


class Broken(nn.Module):
    def __init__(self, error: bool) -> None:
        super().__init__()
        self.error = error

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.error:
            raise RuntimeError("no such size")
        return images.mean((2, 3)) * float("nan")


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (
            Broken(True),
            "the probe before training failed (backbone under training cannot take images of 32 px or 224 px "
            "(RuntimeError: no such size); give it an img_size that it takes under model_args, or use another "
            "backbone); the training goes on",
        ),
        (Broken(False), "the probe before training failed (features are not finite); the training goes on"),
        (
            nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)),
            "the probe before training failed (the backbone's batch normalisation keeps no statistics to evaluate it "
            "with); the training goes on",
        ),
    ],
)
def test_a_probe_that_fails_says_so_once(network: nn.Module, says: str, given: Callable[..., ProbeInput]) -> None:
    said: list[str] = []
    probe = probe_of(given(), said)
    assert probe.before(network.train()) == {}
    assert probe.after(network, 1) == {}
    assert said == [says]
    assert network.training


def test_a_training_is_probed_before_it_begins_then_at_every_so_many_epochs_and_at_its_end(
    tmp_path: Path, patch_set: Storage, given: Callable[..., ProbeInput]
) -> None:
    plain, probed = Storage.open(tmp_path / "plain"), Storage.open(tmp_path / "probed")
    keys = {"backbone": "test_resnet", "epochs": 3, "batch": 150}
    train(job(plain, patch_set, **keys))
    train(replace(job(probed, patch_set, **keys), probe=given(2)))
    assert probed.read_bytes(FILE) == plain.read_bytes(FILE), "it looks on"
    written = lines(probed)
    shown = {"probe", "knn", "probe_start", "knn_start"}
    assert [sorted(line.keys() & shown) for line in written] == [
        ["knn_start", "probe_start"], ["knn", "probe"], ["knn", "probe"]
    ]  # fmt: skip
    assert ["probe_seconds" in line for line in written] == [False, True, True]
    timed = {"probe_seconds", "wait_seconds", "epoch_seconds"}
    same = [{k: v for k, v in line.items() if k not in shown | timed} for line in written]
    assert same == [{k: v for k, v in line.items() if k not in timed} for line in lines(plain)]
    assert all(0 <= line[name] <= 1 for line in written for name in shown & line.keys())
    assert not probed.exists(*SAID)


def test_a_probe_that_cannot_read_its_images_ends_no_training(
    tmp_path: Path, patch_set: Storage, given: Callable[..., ProbeInput]
) -> None:
    out, task = Storage.open(tmp_path / "out"), given()
    (tmp_path / "data/images/3.png").write_bytes(b"no picture")
    train(replace(job(out, patch_set, backbone="test_resnet", epochs=2, batch=150), probe=task))
    assert out.exists(FILE)
    assert [line.keys() & {"probe", "knn_start"} for line in lines(out)] == [set(), set()]
    (said,) = out.read_json(*SAID)
    assert said.startswith("the probe before training failed (")
    assert "images/3.png" in said


def test_a_resumed_training_keeps_what_was_found_before_it_began(
    tmp_path: Path, patch_set: Storage, given: Callable[..., ProbeInput]
) -> None:
    whole, parts, task = Storage.open(tmp_path / "whole"), Storage.open(tmp_path / "parts"), given()
    keys = {"backbone": "test_resnet", "epochs": 2, "batch": 100, "save": 2}
    train(replace(job(whole, patch_set, **keys), probe=task))
    work = replace(job(parts, patch_set, **keys), probe=task)
    run_in_two_parts(work, 2)
    train(work)

    def figures(folder: Storage) -> list[dict]:
        return [{k: v for k, v in line.items() if not k.endswith("_seconds")} for line in lines(folder)]

    assert figures(parts) == figures(whole)
    assert "knn_start" in figures(whole)[0]


def test_ranks_that_do_not_probe_wait(
    tmp_path: Path, patch_set: Storage, given: Callable[..., ProbeInput], pair
) -> None:
    plain, probed = Storage.open(tmp_path / "plain"), Storage.open(tmp_path / "probed")
    keys = {"backbone": "test_resnet", "epochs": 1, "batch": 100}
    pair.run("run", job(plain, patch_set, **keys))
    pair.run("run", replace(job(probed, patch_set, **keys), probe=given()))
    assert probed.read_bytes(FILE) == plain.read_bytes(FILE)
    assert {"probe", "knn_start"} <= lines(probed)[0].keys()
