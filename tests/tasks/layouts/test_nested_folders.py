"""The nested_folders layout: a template of folders names split, class and unit."""

import unicodedata

import numpy as np
import pytest

from raysweep.errors import RequestError
from raysweep.tasks.layouts import layout_of
from raysweep.tasks.read import read_sample
from raysweep.tasks.task import index_task


def samples_of(card, root):
    layout, options = layout_of(card)
    return layout.index(options, root, card)


def files(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def nested(make_card, kind="classification", **keys):
    return make_card(kind, layout={"type": "nested_folders", **keys})


def test_split_class_and_case_folders(tmp_path, make_card):
    root = files(tmp_path, "train/a/c1/1.png", "train/b/c1/1.png", "valid/b/c2/deep/2.JPG", "test/B2/c3/3.tif",
                 "train/a/c1/notes.txt", "train/a/.thumbs/1.png", "loose.png")  # fmt: skip
    card = nested(make_card, splits={"valid": "val"}, folders={"B2": "b"})
    assert [(s.image, s.label, s.unit, s.split) for s in samples_of(card, root)] == [
        ("test/B2/c3/3.tif", 1, "c3", "test"),
        ("train/a/c1/1.png", 0, "c1", "train"),
        ("train/b/c1/1.png", 1, "c1", "train"),
        ("valid/b/c2/deep/2.JPG", 1, "c2", "val"),
    ]


def test_the_deep_tree_of_breakhis(tmp_path, make_card):
    top = "BreaKHis_v1/histology_slides/breast"
    root = files(
        tmp_path,
        f"{top}/benign/SOB/adenosis/SOB_B_A_14-22549AB/100X/SOB_B_A-14-22549AB-100-001.png",
        f"{top}/benign/SOB/adenosis/SOB_B_A_14-22549AB/40X/SOB_B_A-14-22549AB-40-001.png",
        f"{top}/malignant/SOB/ductal_carcinoma/SOB_M_DC_14-2523/40X/SOB_M_DC-14-2523-40-010.png",
        "BreaKHis_v1/README.png",
    )
    path = f"{top}/{{class}}/SOB/*/SOB_*_{{unit}}/40X/*"
    samples = samples_of(nested(make_card, path=path, folders={"benign": "a", "malignant": "b"}), root)
    assert [(s.label, s.unit) for s in samples] == [(0, "14-22549AB"), (1, "14-2523")]
    path = f"{top}/*/SOB/{{class}}/**"
    folders = {"adenosis": "b", "ductal_carcinoma": None}
    samples = samples_of(nested(make_card, path=path, folders=folders, unit=r"-(\d\d-[^-]+)-"), root)
    assert [(s.label, s.unit) for s in samples] == [(1, "14-22549AB")] * 2


def test_the_pattern_of_a_unit_fits_in_every_form_of_unicode(tmp_path, make_card):
    nfd, nfc = (unicodedata.normalize(form, "ä") for form in ("NFD", "NFC"))
    root = files(tmp_path, f"train/a/{nfd}1.png")
    (sample,) = samples_of(nested(make_card, path="*/{class}/*", unit=f"({nfd}\\d)"), root)
    assert sample.unit == f"{nfc}1"


def test_masks_beside_the_images_are_no_images(tmp_path, make_card, write_image):
    for split in ("train", "test"):
        write_image(tmp_path / f"toy/{split}/3/case{split}/x.png", 90)
        write_image(tmp_path / f"toy/{split}/3/case{split}/x_mask.png", np.eye(8, dtype=np.uint8))
    card = nested(make_card, "segmentation", path="{split}/*/{unit}/*", mask="{folder}/{stem}_mask.png")
    task = index_task(card.model_copy(update={"splits": card.splits.model_copy(update={"type": "given"})}), tmp_path)
    assert [(s.id, s.unit, s.split) for s in task.samples] == [
        ("test/3/casetest/x.png", "casetest", "test"), ("train/3/casetrain/x.png", "casetrain", "train"),
    ]  # fmt: skip
    assert read_sample(task, 0)[1].sum() == 8


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"path": "{class}/*.tif"}, r"layout\.path: \{class\}/\*\.tif fits no image below"),
        (
            {"path": "{split}/{class}/*", "unit": "(.)", "splits": {"train": "train", "test": "test"}},
            "test has no image, so test is",
        ),
        ({"path": "{split}/{class}/*", "splits": {"train": "teach"}}, "split 'teach' is none of train, val, test"),
        ({"path": "*/{class}/*"}, "says nothing of the patient"),
        ({"path": "{class}/*/*", "unit": "(.)"}, "'train' is none of the classes a, b.*map it in layout.folders"),
        ({"path": "*/*/*", "unit": "(.)"}, "names nothing in braces"),
        ({"path": "train/{unit}/*"}, r"needs \{class\} in it"),
        ({"path": "../{class}/*"}, "must stay below"),
        ({"path": "{class}/{class}/*"}, "every name is given once"),
        ({"path": "{class}/{unit}/*", "unit": "(.)"}, "both name the unit"),
        ({"path": "{grade}/*"}, r"\{grade\} means nothing here"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, make_card, keys, says):
    root = files(tmp_path, "train/a/1.png", "train/b/2.png")
    with pytest.raises(RequestError, match=says):
        samples_of(nested(make_card, **keys), root)


def test_a_segmentation_task_names_its_masks(tmp_path, make_card):
    with pytest.raises(RequestError, match=r"layout\.mask: a segmentation task needs it"):
        samples_of(nested(make_card, "segmentation"), files(tmp_path, "train/a/c/1.png"))


def test_masks_are_named_by_what_the_path_names(tmp_path, make_card):
    root = files(tmp_path, "Slide_01/01_1.png", "GT_01/01_1.png", "Slide_11/11_2.png")
    card = nested(make_card, "segmentation", path="Slide_{unit}/*.png", mask="{parent}/GT_{unit}/{name}")
    assert [(s.unit, s.mask) for s in samples_of(card, root)] == [("01", "GT_01/01_1.png"), ("11", "GT_11/11_2.png")]
    with pytest.raises(RequestError, match=r"mask: \{split\} is no part of path"):
        samples_of(nested(make_card, "segmentation", path="Slide_{unit}/*", mask="{split}/{name}"), root)
