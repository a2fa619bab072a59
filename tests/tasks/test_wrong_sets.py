"""Sets that are not what their card says: each is refused, or told, with what was expected and what was found."""

import shutil

import numpy as np
import pytest
from PIL import Image

from raysweep.errors import RequestError
from raysweep.tasks.prepare import prepare

CLASSES = ["tumor", "stroma", "fat"]
FOLDERS = {"01_TUMOR": "tumor", "02_STROMA": "stroma", "03_FAT": "fat"}
PX = (20, 16)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Four images in each of three folders, of four patients."""
    monkeypatch.setenv("RAYSWEEP_HOME", str(tmp_path / "home"))
    for at, folder in enumerate(FOLDERS):
        for number in range(4):
            picture(tmp_path / f"data/toy/{folder}/P{number}_x.png", 10 * at + number)
    return tmp_path / "data"


@pytest.fixture
def card(make_card):
    layout = {"type": "nested_folders", "path": "{class}/*.png", "folders": FOLDERS, "unit": "(P\\d)_"}
    return make_card(classes=CLASSES, layout=layout, n_images=12, n_units=4, image_px=PX, licence={"name": "CC0"})


def picture(path, seed, size=PX):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)


def test_the_set_itself_is_what_the_card_says(data, card):
    text = str(prepare(card, data, accept=False))
    assert text.startswith("toy: 12 images of 4 patients in ")
    assert "cannot be used" not in text


def refused(card, data):
    with pytest.raises(RequestError) as error:
        prepare(card, data, accept=False)
    return str(error.value)


def test_missing_files(data, card):
    (data / "toy/02_STROMA/P1_x.png").unlink()
    (data / "toy/02_STROMA/P2_x.png").unlink()
    said = refused(card, data)
    assert "n_images: " in said
    assert "holds 10 images but the card says 12 (found: tumor 4, stroma 2, fat 4); complete the download" in said


def test_files_of_a_table_that_are_missing_are_listed(data, make_card):
    rows = [f"{folder}/P{n}_x.png,{name},P{n}" for folder, name in FOLDERS.items() for n in range(4)]
    (data / "toy/labels.csv").write_text("\n".join(["image,label,patient", *rows]))
    layout = {"type": "csv", "file": "labels.csv", "label": "label", "unit": "patient"}
    card = make_card(classes=CLASSES, layout=layout, n_images=12)
    (data / "toy/02_STROMA/P1_x.png").unlink()
    text = str(prepare(card, data, accept=False))
    assert "1 cannot be used:\n  02_STROMA/P1_x.png: the image is missing" in text
    (data / "toy/labels.csv").rename(data / "toy/annotations.csv")
    assert "there is no " in (said := refused(card, data))
    assert "labels.csv; there is 01_TUMOR/, 02_STROMA/, 03_FAT/, annotations.csv" in said


def test_extra_files(data, card):
    picture(data / "toy/03_FAT/P9_y.png", 99)
    said = refused(card, data)
    assert "holds 13 images but the card says 12 (found: tumor 4, stroma 4, fat 5)" in said


def test_extra_files_of_another_kind_are_passed_by_and_told(data, card):
    (data / "toy/readme.txt").write_text("x")
    picture(data / "toy/overview.png", 99)
    text = str(prepare(card, data, accept=False))
    assert "files passed by: .png 1, .txt 1" in text


def test_files_of_other_names(data, card):
    (data / "toy/01_TUMOR/P1_x.png").rename(data / "toy/01_TUMOR/image (2).png")
    assert r"layout.unit: (P\d)_ finds no unit in 01_TUMOR/image (2).png" in refused(card, data)
    (data / "toy/01_TUMOR/image (2).png").rename(data / "toy/01_TUMOR/P1_x.jpg")
    said = refused(card, data)
    assert "holds 11 images but the card says 12" in said
    assert "; 1 other images fit no part of its layout: 01_TUMOR/P1_x.jpg; complete" in said


def test_units_of_other_names(data, card):
    for folder in FOLDERS:
        (data / f"toy/{folder}/P3_x.png").rename(data / f"toy/{folder}/P2_z.png")
    said = refused(card, data)
    assert "n_units: the 12 images below" in said
    assert "are of 3 patients (P0, P1, P2) but the card says 4" in said


def test_copies_in_the_place_of_others(data, card):
    """The count is right: only the bytes tell."""
    shutil.copy(data / "toy/01_TUMOR/P0_x.png", data / "toy/03_FAT/P1_x.png")
    text = str(prepare(card, data, accept=False))
    assert "the same bytes under two classes, 1 times: 01_TUMOR/P0_x.png = 03_FAT/P1_x.png" in text


@pytest.mark.parametrize(
    ("folder", "near"), [("01_tumor", "01_TUMOR"), ("01_Tumeur", "01_TUMOR"), ("TUMOR", "01_TUMOR")]
)
@pytest.mark.parametrize("layout", ["nested_folders", "image_folder"])
def test_class_folders_in_another_case_or_language(data, card, folder, near, layout):
    (data / "toy/01_TUMOR").rename(data / f"toy/{folder}")
    if layout == "image_folder":
        options = {"type": layout, "folders": FOLDERS, "unit": "(P\\d)_"}
        card = card.model_copy(update={"layout": options})
    said = refused(card, data)
    assert f"'{folder}' is none of the classes tumor, stroma, fat, which are called 01_TUMOR, 02_STROMA, 03_FAT" in said
    assert f"(nearest: {near})" in said
    assert "map it in layout.folders" in said


def test_class_folders_of_the_classes_names_in_another_case(data, make_card):
    for folder, name in FOLDERS.items():
        (data / f"toy/{folder}").rename(data / f"toy/{name.upper()}")
    card = make_card(classes=CLASSES, layout={"type": "image_folder"}, unit="image")
    said = refused(card, data)
    assert "'FAT' is none of the classes tumor, stroma, fat (nearest: fat); map it in layout.folders" in said


@pytest.mark.parametrize(
    "layout",
    [
        {"type": "nested_folders", "path": "train/{class}/{unit}/*.tif"},
        {"type": "image_folder", "splits": {"NCT-CRC-HE-100K": "train"}, "unit": "(.)"},
        {"type": "csv", "file": "metadata.csv", "label": "tumor", "unit": "patient"},
        {"type": "hdf5"},
    ],
)
def test_an_archive_of_another_set(data, make_card, layout):
    unit = "image" if layout["type"] == "hdf5" else "patient"
    said = refused(make_card(classes=CLASSES, layout=layout, unit=unit), data)
    assert "there is 01_TUMOR/, 02_STROMA/, 03_FAT/" in said


def test_an_archive_of_another_set_for_masks(data, make_card):
    layout = {"type": "image_mask_pairs", "images": "train/Images/*.png"}
    said = refused(make_card("segmentation", layout=layout, unit="image"), data)
    assert "train/Images/*.png finds no image below" in said
    assert "there is 01_TUMOR/" in said


def test_an_empty_folder(data, make_card):
    (data / "other").mkdir()
    card = make_card(root="other", layout={"type": "nested_folders", "path": "{class}/*"}, unit="image")
    assert "other is empty" in refused(card, data)


def test_a_mirror_that_saved_the_images_anew(data, card):
    for path in sorted((data / "toy").rglob("*.png")):
        picture(path, 5, (10, 8))
    said = refused(card, data)
    assert "image_px: 12 of 12 images below" in said
    assert "(01_TUMOR/P0_x.png: the image is 10 x 8 px, and those of the set 20 x 16)" in said


def test_a_few_images_of_another_size_are_left_out(data, card):
    for number in range(4, 150):
        picture(data / f"toy/01_TUMOR/P0_{number}.png", number)
    picture(data / "toy/01_TUMOR/P1_x.png", 5, (16, 20))
    card = card.model_copy(update={"n_images": 158})
    text = str(prepare(card, data, accept=False))
    assert "1 cannot be used:\n  01_TUMOR/P1_x.png: the image is 16 x 20 px, and those of the set 20 x 16" in text


def test_a_mirror_that_changed_the_format(data, card):
    for path in sorted((data / "toy").rglob("*.png")):
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
    assert "{class}/*.png fits no image below" in refused(card, data)
