"""A first card of folders as people have them."""

import csv
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from raysweep.errors import RequestError
from raysweep.tasks.cards import load_card
from raysweep.tasks.draft.card import draft_card
from raysweep.tasks.find import find_samples
from raysweep.tasks.task import index_task


@pytest.fixture
def write(tmp_path, write_image):
    """Write pictures, or masks as arrays, below `set`."""

    def some(paths, pixels=100, size=(40, 30)):
        for path in paths:
            write_image(tmp_path / "set" / path, pixels, size)
        return tmp_path / "set"

    return some


def _table(path, rows):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _checked(draft, folder, tmp_path):
    """The card as a file that everything else reads, and its task."""
    place = tmp_path / "cards"
    place.mkdir(exist_ok=True)
    (place / f"{draft.card.name}.yaml").write_text(draft.text)
    card = load_card(draft.card.name, [place])
    assert card.model_dump() == draft.card.model_dump()
    return index_task(card, folder.parent)


def test_a_folder_for_each_class(write, tmp_path):
    folder = write([f"{label}/{label}_{n}.png" for label in ("benign", "no") for n in range(6)])
    (folder / "readme.txt").write_text("hello")
    draft = draft_card(folder)
    task = _checked(draft, folder, tmp_path)
    assert draft.card.classes == ["benign", "no"]
    assert draft.card.unit == "image"
    assert any("nothing says which images are of one patient" in line for line in draft.warnings)
    assert len(task.samples) == draft.card.n_images == 12
    assert draft.card.px == 32
    assert "classes: benign 6, no 6" in draft.facts


@pytest.mark.parametrize(
    "tops",
    [("train", "test"), ("fold1", "fold2", "fold3"), ("img", "lbl"), ("P01", "P02", "P03")],
)
def test_folders_that_are_no_classes_are_not_taken_for_them(tops, write):
    with pytest.raises(RequestError, match="no labels are found"):
        draft_card(write([f"{top}/{n}.png" for top in tops for n in range(6)]))


@pytest.mark.parametrize(
    ("template", "layout", "units"),
    [
        ("P{unit}/{label}/{n}.png", {"type": "nested_folders", "path": "{unit}/{class}/**"}, 12),
        ("{unit}/{label}/{n}.png", {"type": "nested_folders", "path": "{unit}/{class}/**"}, 12),
        ("{label}/{side}/{unit}-{n}.png",
         {"type": "nested_folders", "path": "{class}/{split}/**", "splits": {"test": "test", "train": "train"}}, 48),
        ("{side}set/{label}/{unit}-{n}.png",
         {"type": "image_folder", "splits": {"testset": "test", "trainset": "train"}}, 48),
    ],
)  # fmt: skip
def test_classes_below_patients_and_beside_splits(template, layout, units, write, tmp_path):
    paths = {template.format(unit=10 + u, label=label, n=n, side="test" if u % 3 else "train"): label
             for u in range(12) for label in ("benign", "malignant") for n in range(2)}  # fmt: skip
    folder = write(paths)
    draft = draft_card(folder)
    task = _checked(draft, folder, tmp_path)
    assert {key: draft.card.layout.get(key) for key in layout} == layout
    assert {sample.image: draft.card.classes[sample.label] for sample in task.samples} == paths
    assert len({sample.unit for sample in task.samples}) in (units, 12)
    assert draft.card.splits.type == ("given" if "splits" in layout else "folds")


def test_empty_folders_and_names_that_differ_in_writing_are_said(write, tmp_path):
    folder = write([f"{label}/{n}.png" for label in ("Benign", "benign", "old ") for n in range(6)])
    (folder / "unsure").mkdir()
    draft = draft_card(folder)
    _checked(draft, folder, tmp_path)
    assert draft.card.layout["folders"] == {"old ": "old", "unsure": None}
    said = "\n".join(draft.warnings)
    assert "folders that hold no image of a class are left out: unsure" in said
    assert "classes: Benign and benign are classes of their own; if they are one, map them in layout.folders" in said


def test_a_table_speaks_of_the_images_beside_it(write, tmp_path):
    """Hugging Face's metadata.csv: one in each split, with names that are in every split."""
    folder = write([f"{side}/{n}.png" for side in ("test", "train") for n in range(12)])
    for side in ("test", "train"):
        rows = [{"file_name": f"{n}.png", "label": "ab"[(n + (side == "test")) % 2]} for n in range(12)]
        _table(folder / side / "metadata.csv", rows)
    draft = draft_card(folder)
    assert draft.card.layout["image"] == draft.card.layout["file"].replace("metadata.csv", "{file_name}")
    assert any(line.startswith("12 images are not in") for line in draft.warnings)
    for side in ("test", "train"):
        (folder / side / "metadata.csv").rename(folder / f"{side}.csv")
    with pytest.raises(RequestError, match=r"in several folders \(test, train\); write their paths into it"):
        draft_card(folder)


def test_split_folders_and_patients_in_names(write, tmp_path):
    paths = [f"{side}/{label}/P{p}_{n}.png" for side, ps in (("Train", range(8)), ("test", range(8, 12)))
             for label in "ab" for p in ps for n in range(2)]  # fmt: skip
    folder = write(paths)
    draft = draft_card(folder)
    task = _checked(draft, folder, tmp_path)
    assert draft.card.splits.type == "given"
    assert draft.card.layout["splits"] == {"Train": "train", "test": "test"}
    assert len({sample.unit for sample in task.samples}) == 12
    assert any("12 slides are GUESSED from the names" in line for line in draft.warnings)


def test_a_split_that_parts_a_patient_is_not_used(write, tmp_path):
    paths = [f"{side}/{label}/P{p}_{n}{side}.png" for side in ("train", "test") for label in "ab" for p in range(9)
             for n in range(2)]  # fmt: skip
    folder = write(paths)
    draft = draft_card(folder, unit=r"(P\d+)_")
    assert draft.card.splits.type == "folds"
    assert any("its own split has 9 of 9 patients on several sides" in line for line in draft.warnings)
    _checked(draft, folder, tmp_path)


def test_a_folder_for_each_patient_below_the_class(write, tmp_path):
    folder = write([f"{label}/case {p}/{n}.png" for label in "ab" for p in range(10) for n in range(2)])
    draft = draft_card(folder)
    task = _checked(draft, folder, tmp_path)
    assert draft.card.unit == "patient"
    assert len({sample.unit for sample in task.samples}) == 10


MASK = np.zeros((30, 40), np.uint16)
MASK[2:8, 2:8], MASK[10:20, 10:20] = 1, 2
MANY = np.arange(1200, dtype=np.uint16).reshape(30, 40) % 60


@pytest.mark.parametrize(
    ("image", "mask", "layout"),
    [
        ("images/{n}.png", "masks/{n}.png", {"images": "images/*", "mask": "masks/{stem}.png"}),
        ("Tissue Images/{n}.tif", "Labels/{n}_label.png",
         {"images": "Tissue Images/*", "mask": "Labels/{stem}_label.png"}),
        ("{n}.png", "{n}_mask.png", {"images": "*[!k].png", "mask": "{stem}_mask.png"}),
        ("p{n}/{n}.png", "p{n}/{n}_anno.png", {"images": "**/*[!o].png", "mask": "{folder}/{stem}_anno.png"}),
        ("data/img/{n}.png", "data/gt/{n}.png", {"images": "data/img/*", "mask": "data/gt/{stem}.png"}),
        ("A{n}/images/x{n}.png", "A{n}/masks/x{n}.png", {"images": "**/images/*", "mask": "{parent}/masks/{stem}.png"}),
    ],
)  # fmt: skip
def test_images_with_masks(image, mask, layout, write, tmp_path):
    folder = write([image.format(n=n) for n in range(8)])
    write([mask.format(n=n) for n in range(8)], MANY)
    draft = draft_card(folder)
    task = _checked(draft, folder, tmp_path)
    assert {key: draft.card.layout[key] for key in ("images", "mask")} == layout
    assert draft.card.layout["masks"] == {"binarise": True}
    assert len(task.samples) == 8
    assert not task.excluded


def test_images_with_masks_in_split_folders(write, tmp_path):
    for side, names in (("train", range(6)), ("val", range(6, 8)), ("test", range(8, 12))):
        folder = write([f"{side}/images/{n}.png" for n in names])
        write([f"{side}/masks/{n}.png" for n in names], MANY)
    draft = draft_card(folder)
    task = _checked(draft, folder, tmp_path)
    assert draft.card.splits.type == "given"
    assert sorted({sample.split for sample in task.samples}) == ["test", "train", "val"]


def test_a_table_beside_images_and_masks_gives_units_and_other_tasks(write, tmp_path):
    folder = write([f"images/{n}.png" for n in range(16)])
    write([f"masks/{n}.png" for n in range(16)], MANY)
    _table(folder / "manifest.csv", [
        {"name": n, "patient_id": n // 2, "split": "train" if n < 9 else "test", "grade": "ab"[n % 2], "width": 40}
        for n in range(16)
    ])  # fmt: skip
    draft = draft_card(folder)
    task = _checked(draft, folder, tmp_path)
    assert draft.card.layout["table"]["unit"] == "patient_id"
    assert len({sample.unit for sample in task.samples}) == 8
    assert any("--label grade" in line for line in draft.warnings)
    assert any("1 of 8 patients on several sides" in line for line in draft.warnings)
    graded = draft_card(folder, label="grade", name="grade")
    task = _checked(graded, folder, tmp_path)
    assert (graded.card.kind, graded.card.classes) == ("classification", ["a", "b"])
    assert len(task.samples) == 16
    with pytest.raises(RequestError, match=r"--label grad: .* has no such column; it has name, patient_id"):
        draft_card(folder, label="grad")
    with pytest.raises(RequestError, match="--unit slide: neither a column"):
        draft_card(folder, unit="slide")


@pytest.mark.parametrize("column", ["image", "name", "stem"])
def test_a_table_alone(column, write, tmp_path):
    folder = write([f"tiles/t{n}.png" for n in range(12)])
    named = {"image": "tiles/t{}.png", "name": "t{}.png", "stem": "t{}"}[column]
    rows = [{"file": named.format(n), "label": n % 3, "slide": f"s{n // 2}"} for n in range(12)]
    _table(folder / "labels.csv", [*rows, {"file": "gone", "label": 0, "slide": "s0"}] if column == "stem" else rows)
    draft = draft_card(folder)
    task = _checked(draft, folder, tmp_path)
    assert draft.card.classes == ["0", "1", "2"]
    assert draft.card.unit == "slide"
    assert len(task.samples) == 12
    assert any("1 rows of labels.csv name no image" in line for line in draft.warnings) == (column == "stem")


def test_a_pattern_that_is_none_is_refused(write):
    folder = write([f"{label}/{n}.png" for label in "ab" for n in range(4)])
    for unit, says in (("(", "not a regular expression"), ("(x)(y)", "needs exactly one group")):
        with pytest.raises(RequestError, match=rf"^--unit {re.escape(unit)}: {says}"):
            draft_card(folder, unit=unit)


def test_several_columns_that_may_be_the_class_are_asked_about(write):
    folder = write([f"{n}.png" for n in range(12)])
    _table(folder / "t.csv", [{"id": n, "blue": "xy"[n % 2], "round": "yn"[n // 6]} for n in range(12)])
    with pytest.raises(
        RequestError, match=r"several columns may name the class: blue, round; say which one as --label"
    ):
        draft_card(folder)
    assert draft_card(folder, label="round").card.classes == ["n", "y"]


@pytest.mark.parametrize(
    ("values", "masks", "classes"),
    [
        ([0, 1], None, 2),
        ([0, 255], {"values": {"0": "background", "255": "object"}}, 2),
        ([0, 1, 2, 3], None, 4),
        ([0, 1, 255], {"ignore": [255]}, 2),
        ([0, 1, 2, 255], {"ignore": [255]}, 3),
        ([0, 64, 128], {"values": {"0": "background", "64": "class64", "128": "class128"}}, 3),
        (list(range(60)), {"binarise": True}, 2),
    ],
)
def test_what_the_numbers_in_masks_mean(values, masks, classes, write, tmp_path):
    pattern = np.array(values, np.uint8)[np.arange(1200).reshape(30, 40) % len(values)]
    folder = write([f"images/{n}.png" for n in range(8)])
    write([f"masks/{n}.png" for n in range(8)], pattern)
    draft = draft_card(folder)
    task = _checked(draft, folder, tmp_path)
    assert draft.card.layout.get("masks") == masks
    assert len(draft.card.classes) == classes
    assert not task.excluded


def test_masks_that_were_saved_in_two_ways_have_one_object(write, tmp_path):
    folder = write([f"images/{n}.png" for n in range(8)])
    for n in range(8):
        write([f"masks/{n}.png"], np.array([0, 1 if n % 2 else 255], np.uint8)[np.arange(1200).reshape(30, 40) % 2])
    draft = draft_card(folder)
    assert draft.card.layout["masks"] == {"values": {"0": "background", "1": "object", "255": "object"}}
    assert not _checked(draft, folder, tmp_path).excluded


def test_few_numbered_objects_are_no_classes(write, tmp_path):
    folder = write([f"images/{n}.png" for n in range(8)])
    for n in range(8):
        mask = np.zeros((30, 40), np.uint8)
        for number in range(1 + n % 4):
            mask[2:8, 9 * number : 9 * number + 5] = number + 1
        write([f"masks/{n}.png"], mask)
    draft = draft_card(folder)
    assert draft.card.layout["masks"] == {"binarise": True}


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        ([], r"there is no such folder"),
        (["a.png", "b.png"], r"no labels are found\. What is looked for: .*found: 2 images in 1 folders"),
        (["one/a.png"], r"no labels are found"),
    ],
)
def test_a_folder_without_labels_is_a_sentence(paths, words, write, tmp_path):
    write(paths)
    with pytest.raises(RequestError, match=words):
        draft_card(tmp_path / "set")


def test_a_folder_without_images_says_what_is_there(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.npy").write_bytes(b"")
    with pytest.raises(RequestError, match=r"holds no image of a type that is read .*; found: \.npy 1"):
        draft_card(tmp_path / "set")


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "x.png"
    Image.fromarray(np.full((16, 16, 3), 7, np.uint8)).save(path)
    return path


_WORDS = st.text("abcdxyzABC019 äß.,_-", min_size=1, max_size=8).filter(lambda w: w.strip() == w and w[0] not in "._")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(classes=st.dictionaries(_WORDS, st.lists(_WORDS, min_size=2, max_size=5, unique_by=str.casefold), min_size=2,
                               max_size=4))  # fmt: skip
def test_whatever_classes_and_files_are_called_the_card_finds_them_all(classes, picture, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any") / "set"
    expected = set()
    for label, names in classes.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / label / f"{name}.png").hardlink_to(picture)
            expected.add((f"{label}/{name}.png", label))
    draft = draft_card(folder)
    found = find_samples(draft.card, folder)
    import unicodedata

    assert {(s.image, draft.card.classes[s.label]) for s in found} == {
        (image, unicodedata.normalize("NFC", label)) for image, label in expected
    }
