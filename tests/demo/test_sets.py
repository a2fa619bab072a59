"""Drawn labelled sets: enough of everything, patients kept apart, and in agreement with their cards."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from raysweep.demo import sets
from raysweep.demo.sets import write_sets
from raysweep.storage import shipped
from tests.drawn import copy_sets

CARDS = {
    name: yaml.safe_load((shipped("datasets") / f"{name}.yaml").read_text()) for name in ("demo-tissue", "demo-glands")
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo")
    copy_sets(path)
    return path


def rows(table: Path) -> list[dict[str, str]]:
    with open(table, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("name", "table"), [("demo-tissue", "labels.csv"), ("demo-glands", "samples.csv")])
def test_sets_are_large_enough_and_no_patient_is_on_both_sides(folder: Path, name: str, table: Path) -> None:
    found = rows(folder / name / table)
    assert sum(row["split"] == "train" for row in found) >= 96
    patients = {split: {row["patient"] for row in found if row["split"] == split} for split in ("train", "test")}
    assert len(patients["test"]) >= 20
    assert not patients["train"] & patients["test"]
    assert sorted(row["image"] for row in found) == sorted(
        path.relative_to(folder / name).as_posix() for path in (folder / name / "images").iterdir()
    )


def test_no_patient_is_in_two_sets(folder: Path) -> None:
    tissue = {row["patient"] for row in rows(folder / "demo-tissue" / "labels.csv")}
    glands = {row["patient"] for row in rows(folder / "demo-glands" / "samples.csv")}
    slides = {f"S{i:02d}" for i in range(1, 100)}  # as demo.slides names them
    assert tissue.isdisjoint(glands)
    assert slides.isdisjoint(tissue | glands)


@pytest.mark.parametrize("name", list(CARDS))
def test_images_are_as_the_card_says(folder: Path, name: str) -> None:
    card = CARDS[name]
    assert card["root"] == name
    assert card["mpp"] == 1.0
    for path in (folder / name / "images").iterdir():
        with Image.open(path) as image:
            assert (image.size, image.mode) == ((card["px"], card["px"]), "RGB")


def test_every_patient_has_every_kind_and_names_do_not_tell(folder: Path) -> None:
    found = rows(folder / "demo-tissue" / "labels.csv")
    kinds = CARDS["demo-tissue"]["classes"]
    assert Counter((row["patient"], row["label"]) for row in found) == {
        (patient, kind): 1 for patient in {row["patient"] for row in found} for kind in kinds
    }
    order = Counter((row["image"].rsplit("-")[-1], row["label"]) for row in found)
    assert max(order.values()) < 0.6 * len(found) / len(kinds)


def test_masks_are_binary_and_show_some_gland(folder: Path) -> None:
    for path in (folder / "demo-glands" / "images").iterdir():
        with Image.open(folder / "demo-glands" / "masks" / path.name) as image:
            mask = np.asarray(image)
        assert mask.shape == (64, 64)
        assert set(np.unique(mask)) <= {0, 1}  # the class ids of the card
        assert 0.1 < mask.mean() < 0.9


def test_lumina_are_in_the_mask(folder: Path) -> None:
    inside = outside = 0
    for path in (folder / "demo-glands" / "images").iterdir():
        with Image.open(path) as image, Image.open(folder / "demo-glands" / "masks" / path.name) as mask:
            white = np.asarray(image).min(axis=-1) > 222
            inside += int((white & (np.asarray(mask) > 0)).sum())
            outside += int((white & (np.asarray(mask) == 0)).sum())
    assert inside > 10 * outside


def test_the_sets_fit_their_cards(folder: Path) -> None:
    from raysweep.tasks.cards import load_card
    from raysweep.tasks.task import index_task

    for name, card in CARDS.items():
        task = index_task(load_card(name, []), folder)
        assert len(task.samples) == len(rows(folder / name / card["layout"].get("file", "samples.csv")))
        assert not task.excluded


def test_a_second_call_writes_nothing_and_the_seed_decides(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "demo-tissue" / "images" / "T01-1.png"
    before = path.stat()
    write_sets(folder, seed=0)
    assert path.stat() == before
    monkeypatch.setattr(sets, "_PATIENTS", {"train": 1, "test": 1})
    write_sets(tmp_path, seed=1)
    assert (tmp_path / "demo-tissue" / "images" / "T01-1.png").read_bytes() != path.read_bytes()
