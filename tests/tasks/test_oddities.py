"""What `prepare` tells of files passed by and of pictures that are there twice."""

import numpy as np
import pytest
from PIL import Image

from raysweep.tasks.oddities import find_oddities
from raysweep.tasks.task import index_task


def blobs(seed):
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC))


@pytest.fixture
def toy(tmp_path, write_image):
    for number, name in enumerate(["train/a/p1_0.png", "train/b/p2_1.png", "test/a/p3_2.PNG", "test/b/p4_3.webp"]):
        write_image(tmp_path / "toy" / name, blobs(number))
    return tmp_path / "toy"


@pytest.fixture
def card(make_card):
    layout = {"type": "image_folder", "splits": {"train": "train", "test": "test"}, "unit": r"/(p\d)_"}
    return make_card(layout=layout, splits={"type": "given"})


def odd(card, toy):
    return find_oddities(index_task(card, toy.parent))


def test_a_plain_set_has_nothing_odd(toy, card):
    assert odd(card, toy).lines() == []


def test_files_passed_by_are_counted_by_suffix_and_leftovers_by_their_folder(toy, card, write_image):
    for name in ("train/a/.ipynb_checkpoints/p1_0-checkpoint.png", "train/a/@eaDir/p1_0.png/SYNOPHOTO_THUMB_M.jpg",
                 "test/b/@eaDir/x.png", "test/._p3_2.png", "__MACOSX/train/a/p1_0.png"):  # fmt: skip
        write_image(toy / name, blobs(0))
    for name in ("notes.txt", "train/a/x.gif", "train/b/x.svs", "test/y.gif", "README", ".DS_Store"):
        (toy / name).write_text("x")
    write_image(toy / "test" / "loose.png")
    assert odd(card, toy).lines() == [
        "left by tools, not images of the set: @eaDir 2, .ipynb_checkpoints 1, __MACOSX 1, hidden files 1",
        "files passed by: .gif 2, .png 1, .svs 1, .txt 1, without a suffix 1",
    ]


def test_the_same_bytes_are_told_where_labels_splits_or_units_differ(toy, card, write_image):
    write_image(toy / "test/b/p5_9.png", blobs(0))
    found = odd(card, toy)
    pair = [("test/b/p5_9.png", "train/a/p1_0.png")]
    assert (found.two_classes, found.two_splits, found.two_units, found.alike) == (pair, pair, pair, [])
    shown = "test/b/p5_9.png = train/a/p1_0.png"
    assert found.lines() == [
        f"the same bytes under two classes, 1 times: {shown}",
        f"the same bytes in two splits, 1 times: {shown}",
        f"the same bytes of two patients, 1 times: {shown}",
    ]
    (toy / "test/b/p5_9.png").rename(toy / "train/a/p1_9.png")
    assert odd(card, toy).lines() == [], "twice the same image of a patient"


def test_images_of_two_patients_that_look_alike_are_told_up_to_five(toy, card, write_image):
    for number in range(4, 11):
        write_image(toy / f"train/a/p1_{number}.png", blobs(number))
        Image.fromarray(blobs(number)).rotate(90).save(toy / f"train/b/p2_{number}.jpg", quality=90)
    (line,) = odd(card, toy).lines()
    assert line.startswith("images of different patients that look alike: train/a/p1_")
    assert line.count("~") == 5
    assert line.endswith(", ...")


def test_patients_whose_names_are_written_in_two_ways_are_told(toy, card, write_image):
    write_image(toy / "test/b/p01_5.png", blobs(11))
    (line,) = odd(card.model_copy(update={"layout": {**card.layout, "unit": r"/(p\d+)_"}}), toy).lines()
    assert line == "patients that may be one, with names written in two ways: p01 ~ p1"


def test_a_look_that_only_suggests_is_not_told(toy, card, monkeypatch):
    monkeypatch.setattr("raysweep.tasks.examine.look_of", lambda picture: 9)
    task = index_task(card, toy.parent)
    assert {seen.look for seen in task.examined} == {9}
    assert find_oddities(task).lines() == []


def test_masks_are_used_files_and_images_left_out_are_not_passed_by(tmp_path, make_card, write_image):
    mask = np.eye(8, dtype=np.uint8)
    for number in range(3):
        write_image(tmp_path / "toy/images" / f"{number}.png", number)
        write_image(tmp_path / "toy/masks" / f"{number}.png", mask * (7 if number == 2 else 1))
    write_image(tmp_path / "toy/masks/unpaired.png", mask)
    task = index_task(make_card("segmentation", layout={"type": "image_mask_pairs"}, unit="image"), tmp_path)
    assert len(task.excluded) == 1
    assert find_oddities(task).lines() == ["files passed by: .png 1"]


def test_what_filters_leave_out_is_told_and_not_passed_by(tmp_path, make_card, write_image):
    for number in range(3):
        write_image(tmp_path / "toy/images" / f"{number}.png", number)
        write_image(tmp_path / "toy/masks" / f"{number}.png", np.eye(8, dtype=np.uint8))
    (tmp_path / "toy/t.csv").write_text("image,stain\n0,he\n1,pas\n2,pas\n")
    table = {"file": "t.csv", "image": "{stem}", "where": {"stain": "he"}}
    card = make_card("segmentation", layout={"type": "image_mask_pairs", "table": table}, unit="image", n_images=3)
    assert odd(card, tmp_path / "toy").lines() == [
        "left out by the card's filters: 2 images", "files passed by: .csv 1"
    ]  # fmt: skip
