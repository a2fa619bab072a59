"""Indexing a folder: what is used, what is left out and why, what is refused, what the fingerprint covers."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raysweep.errors import RequestError, WorkError
from raysweep.storage import Storage, fingerprint
from raysweep.tasks.card import Objects
from raysweep.tasks.cards import load_card
from raysweep.tasks.files import load_image
from raysweep.tasks.masks import IGNORED
from raysweep.tasks.read import read_sample
from raysweep.tasks.task import Sample, Task, index_task
from raysweep.yaml_file import parse_yaml


@pytest.fixture
def data(tmp_path, write_image):
    """Four labelled images of four patients, below `toy`."""
    rows = ["image,label,patient,split"]
    for number, (label, split) in enumerate([("a", "train"), ("b", "train"), ("a", "test"), ("b", "test")]):
        write_image(tmp_path / "toy" / f"{number}.png", number)
        rows.append(f"{number}.png,{label},p{number},{split}")
    (tmp_path / "toy" / "labels.csv").write_text("\n".join(rows))
    return tmp_path


@pytest.fixture
def masked(tmp_path, write_image):
    """Three images with masks of two classes, below `toy`."""
    for number in range(3):
        write_image(tmp_path / "toy" / "images" / f"{number}.png", number)
        mask = np.zeros((8, 8), np.uint8)
        mask[:2] = 1
        write_image(tmp_path / "toy" / "masks" / f"{number}.png", mask)
    return tmp_path


PAIRS = {"type": "image_mask_pairs"}


def test_a_good_folder_is_taken_whole(data, make_card):
    task = index_task(make_card(n_images=4), data)
    assert [s.id for s in task.samples] == ["0.png", "1.png", "2.png", "3.png"]
    assert [s.label for s in task.samples] == [0, 1, 0, 1]
    assert task.excluded == []
    assert task.root == data / "toy"


def test_a_corrupt_a_truncated_and_a_missing_image_are_left_out_with_the_reason(data, make_card):
    whole = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(whole).save(data / "toy" / "0.png")
    cut = (data / "toy" / "0.png").read_bytes()
    (data / "toy" / "0.png").write_bytes(cut[: len(cut) // 2])  # the header is whole, the pixels are not
    (data / "toy" / "1.png").write_text("no picture")
    labels = data / "toy" / "labels.csv"
    labels.write_text(labels.read_text() + "\nx.png,a,p4,train\ny.png,b,p5,train\n")
    Image.fromarray(whole).save(data / "toy" / "y.png")
    task = index_task(make_card(), data)
    reasons = dict(task.excluded)
    assert [s.id for s in task.samples] == ["2.png", "3.png", "y.png"]
    assert "the image cannot be read: OSError" in reasons["0.png"]
    assert reasons["1.png"] == "the image cannot be read: not a picture in a format that is read"
    assert reasons["x.png"] == "the image is missing"
    unchecked = index_task(make_card(), data, check_images=False)
    assert dict(unchecked.excluded).keys() == {"x.png"}, "headers and pixels are not looked at, files are"


def test_a_mask_of_another_size_names_both_sizes(masked, make_card, write_image):
    write_image(masked / "toy" / "masks" / "1.png", np.zeros((6, 9), np.uint8))
    (masked / "toy" / "masks" / "2.png").unlink()
    task = index_task(make_card("segmentation", layout=PAIRS, unit="image"), masked)
    assert [s.id for s in task.samples] == ["images/0.png"]
    assert dict(task.excluded) == {
        "images/1.png": "the image is 8 x 8 px, its mask masks/1.png is 9 x 6 px",
        "images/2.png": "its mask masks/2.png is missing",
    }
    assert task.samples[0].present == (0, 1)


def test_a_mask_with_an_unknown_value_is_left_out_naming_file_and_value(masked, make_card, write_image):
    write_image(masked / "toy" / "masks" / "1.png", np.full((8, 8), 7, np.uint8))
    task = index_task(make_card("segmentation", layout=PAIRS, unit="image"), masked)
    assert [s.id for s in task.samples] == ["images/0.png", "images/2.png"]
    ((name, reason),) = task.excluded
    assert name == "images/1.png"
    assert reason.startswith("its mask masks/1.png: pixel value 7 is no class; known are 0, 1; add it to layout.masks")


def test_ignored_values_are_no_class_of_a_sample_and_a_mask_of_nothing_else_is_left_out(masked, make_card, write_image):
    mask = np.full((8, 8), 255, np.uint8)
    write_image(masked / "toy" / "masks" / "1.png", mask)
    mask[:, :2] = 1
    write_image(masked / "toy" / "masks" / "2.png", mask)
    card = make_card("segmentation", layout={**PAIRS, "masks": {"ignore": 255}}, unit="image")
    task = index_task(card, masked)
    assert [s.present for s in task.samples] == [(0, 1), (1,)]
    assert dict(task.excluded) == {"images/1.png": "its mask masks/1.png has no pixel that counts: all are ignored"}
    ids = read_sample(task, 1)[1]
    assert (ids.dtype, ids.tolist()) == (np.uint8, [[1, 1] + [IGNORED] * 6] * 8)
    values = {"values": {0: "gland", 1: "gland"}, "ignore": [255]}
    card = make_card("segmentation", layout={**PAIRS, "masks": values}, unit="image")
    with pytest.raises(RequestError, match="no image of class background"):
        index_task(card, masked)


def broken_set(folder, write_image, n, n_broken):
    for number in range(n):
        write_image(folder / "toy" / "ab"[number % 2] / f"{number:03d}.png", number)
    for number in range(n_broken):
        (folder / "toy" / "ab"[number % 2] / f"{number:03d}.png").write_text("broken")
    return folder


def test_more_than_one_in_a_hundred_that_cannot_be_decoded_refuse_a_set(tmp_path, make_card, write_image):
    card = make_card(layout={"type": "image_folder"}, unit="image")
    assert len(index_task(card, broken_set(tmp_path / "few", write_image, 99, 5)).excluded) == 5
    assert len(index_task(card, broken_set(tmp_path / "some", write_image, 200, 2)).excluded) == 2
    many = broken_set(tmp_path / "many", write_image, 200, 3)
    with pytest.raises(RequestError, match=r"3 of 200 images .* cannot be decoded, more than 1%; .*: a/000"):
        index_task(card, many)
    for number in range(3):
        pages = [Image.new("L", (8, 8), value) for value in (number, 9)]
        path = many / "toy" / "ab"[number % 2] / f"{number:03d}.png"
        pages[0].save(path, "TIFF", save_all=True, append_images=pages[1:])
    assert len(index_task(card, many).excluded) == 3, "files of another kind are whole"


def test_one_file_under_two_names_is_refused(data, make_card):
    rows = ["image,label,patient", "0.png,a,p", "1.png,b,q", "2.png,a,r", "3.png,b,s", "0.PNG,b,t"]
    (data / "toy" / "labels.csv").write_text("\n".join(rows))
    with pytest.raises(RequestError, match=r"card toy: 0\.png and 0\.PNG are one file, .*toy/0\.png; leave one out"):
        index_task(make_card(), data)


def test_a_table_finds_files_whose_names_have_another_form(tmp_path, make_card, write_image):
    names = ["Gewebe-ä.png", "ü/Schnitt.PNG", "plain.png"]
    for name in names:
        write_image(tmp_path / "toy" / unicodedata.normalize("NFD", name))
    rows = ["bild,größe,patient", *(f"{name},{c},Jörg" for name, c in zip(names, ("a", "b", "b"), strict=True))]
    text = unicodedata.normalize("NFC", "\n".join(rows)).replace("Schnitt.PNG", "Schnitt.png")
    (tmp_path / "toy" / "labels.csv").write_text(text)
    size = unicodedata.normalize("NFD", "größe")
    layout = {"type": "csv", "file": "labels.csv", "image": "{bild}", "label": size, "unit": "patient"}
    task = index_task(make_card(layout=layout), tmp_path)
    assert task.excluded == []
    assert [s.id for s in task.samples] == ["Gewebe-ä.png", "ü/Schnitt.png", "plain.png"]
    assert [s.image for s in task.samples] == [unicodedata.normalize("NFD", name) for name in names]
    for index in range(3):
        assert read_sample(task, index)[0].shape == (8, 8, 3)
    folder = Storage.open(tmp_path / "saved")
    task.save(folder)
    assert Task.load(folder, tmp_path) == task


def test_what_an_older_program_found_is_looked_at_again(data, make_card, tmp_path, monkeypatch):
    index_task(make_card(), data).save(folder := Storage.open(tmp_path / "saved"))
    saved = folder.read_json("task.json")
    folder.write_json({k: v for k, v in saved.items() if k != "format"}, "task.json")
    table = folder.read_table("index.parquet")
    folder.write_table(table.drop_columns("look"), "index.parquet")
    known = Task.load(folder, data)
    monkeypatch.setattr("raysweep.tasks.reader.load_image", lambda path: (_ for _ in ()).throw(OSError("new rule")))
    with pytest.raises(RequestError, match="new rule"):
        index_task(make_card(), data, known=known)


def test_numbers_that_are_names_stay_as_they_were_written_in_a_saved_task(tmp_path, make_card, write_image):
    for number in range(2):
        write_image(tmp_path / "toy" / "images" / f"{number}.png", number)
        write_image(tmp_path / "toy" / "masks" / f"{number}.png", np.eye(8, dtype=np.uint8))
    keys = make_card("segmentation", layout=PAIRS, unit="image").model_dump(exclude={"classes", "layout"})
    text = "classes: [007, 1e3]\nlayout: {type: image_mask_pairs, masks: {values: {0: 007, 1: 1e3}}}"
    task = index_task(load_card({**keys, **parse_yaml(text, "x")}, []), tmp_path)
    folder = Storage.open(tmp_path / "saved")
    task.save(folder)
    assert Task.load(folder, tmp_path).masks.values == task.masks.values == {0: "007", 1: "1e3"}


def test_palettes_that_draw_a_number_in_two_colours_are_refused(masked, make_card):
    card = make_card("segmentation", layout=PAIRS, unit="image", splits={"type": "holdout", "test": 0.4})
    for number, colours in enumerate(([0, 0, 0, 255, 0, 0], [0, 0, 0, 255, 0, 0], [255, 0, 0, 0, 0, 0])):
        path = masked / "toy" / "masks" / f"{number}.png"
        mask = Image.fromarray(np.array(Image.open(path)) ^ (number == 2)).convert("P")
        mask.putpalette(colours)
        mask.save(path)
    says = r"the number 0 is drawn as \(0, 0, 0\) in masks/0\.png and as \(255, 0, 0\) in masks/2\.png: each mask has"
    with pytest.raises(RequestError, match=says):
        index_task(card, masked)
    mask.putpalette([0, 0, 0, 255, 255, 0])
    mask.save(path)
    of_objects = {**PAIRS, "masks": {"binarise": True}}
    assert len(index_task(card.model_copy(update={"layout": of_objects}), masked).samples) == 3, "objects of any colour"


def test_a_class_that_no_mask_shows_is_refused(masked, make_card):
    card = make_card("segmentation", layout=PAIRS, unit="image", classes=["background", "gland", "lumen"])
    with pytest.raises(RequestError, match="no image of class lumen"):
        index_task(card, masked)


def test_a_missing_folder_is_refused(data, make_card):
    with pytest.raises(RequestError, match=r"root: the folder .*other does not exist"):
        index_task(make_card(root="other"), data)


@pytest.mark.parametrize("root", ["../toy", "/etc", "toy/../.."])
def test_a_root_outside_the_data_folder_is_refused(data, make_card, root):
    with pytest.raises(RequestError, match="must stay below"):
        index_task(make_card(root=root), data)


def test_the_data_folder_itself_can_be_the_root(data, make_card):
    assert len(index_task(make_card(root="."), data / "toy").samples) == 4


def test_another_count_than_the_card_says_is_refused(data, make_card):
    with pytest.raises(RequestError, match=r"n_images: .* holds 4 images but the card says 5"):
        index_task(make_card(n_images=5), data)


def test_a_class_without_a_sample_is_refused(data, make_card):
    with pytest.raises(RequestError, match="no image of class c"):
        index_task(make_card(classes=["a", "b", "c"]), data)


def test_samples_left_out_do_not_hide_a_missing_class(data, make_card):
    for name in ("1.png", "3.png"):
        (data / "toy" / name).write_text("no picture")
    with pytest.raises(RequestError, match=r"no image of class b .*; 2 were left out"):
        index_task(make_card(), data)


def test_nothing_that_can_be_used_is_refused_with_the_first_reason(data, make_card):
    for path in (data / "toy").glob("*.png"):
        path.unlink()
    with pytest.raises(RequestError, match=r"no image .* can be used \(first: 0\.png: the image is missing\)"):
        index_task(make_card(), data)


def given(**keys):
    columns = {"type": "csv", "file": "labels.csv", "label": "label", "unit": "patient", "split": "split"}
    return {"layout": columns, "splits": {"type": "given"}, **keys}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("1.png,b,p1,train", "1.png,b,p1,test", "train has no image of class b"),
        ("1.png,b,p1,train", "1.png,b,p2,train", "patient p2 is in train and in test; use holdout or folds"),
        ("3.png,b,p3,test", "3.png,b,p3,", r"3\.png has no split"),
        ("test", "val", "nothing is in test"),
    ],
)
def test_a_given_split_is_held_to_its_rules(data, make_card, old, new, says):
    labels = data / "toy" / "labels.csv"
    assert len(index_task(make_card(**given()), data).samples) == 4
    labels.write_text(labels.read_text().replace(old, new))
    with pytest.raises(RequestError, match=says):
        index_task(make_card(**given()), data)


def test_a_saved_task_loads_equal_with_the_same_fingerprint(masked, tmp_path, make_card, write_image):
    write_image(masked / "toy" / "masks" / "1.png", np.zeros((6, 9), np.uint8))
    task = index_task(make_card("segmentation", layout=PAIRS, unit="image"), masked)
    folder = Storage.open(tmp_path / "saved")
    with pytest.raises(WorkError, match="no saved task"):
        Task.load(folder, masked)
    task.save(folder)
    loaded = Task.load(folder, masked)
    assert loaded == task
    assert loaded.inputs() == task.inputs()
    assert loaded.masks == task.masks


@pytest.fixture
def saved(data, tmp_path, make_card):
    """A saved task of which one image cannot be read, and another is missing."""
    (data / "toy" / "0.png").write_text("no picture")
    labels = data / "toy" / "labels.csv"
    labels.write_text(labels.read_text() + "\n4.png,a,p4,train\nx.png,b,p5,train\n")
    Image.new("RGB", (8, 8), (7, 7, 7)).save(data / "toy" / "4.png")
    folder = Storage.open(tmp_path / "saved")
    index_task(make_card(), data).save(folder)
    return folder


def test_a_saved_task_names_no_absolute_path(saved, data):
    assert len(Task.load(saved, data).excluded) == 2
    for name in sorted(saved.names()):
        content = saved.read_bytes(name)
        if name.endswith(".parquet"):  # its pages are compressed
            content += str(saved.read_table(name).to_pylist()).encode()
        assert str(data).encode() not in content
        assert b"/toy/" not in content


def test_a_task_is_read_where_its_data_stands_now(saved, data, tmp_path):
    before = Task.load(saved, data)
    pixels = read_sample(before, 0)[0]
    moved = tmp_path / "elsewhere" / "sets"
    moved.mkdir(parents=True)
    (data / "toy").rename(moved / "toy")
    after = Task.load(saved, moved)
    assert after.root == moved / "toy"
    assert after.inputs() == before.inputs()
    np.testing.assert_array_equal(read_sample(after, 0)[0], pixels)
    with pytest.raises(WorkError, match="cannot be read"):
        read_sample(before, 0)


def test_no_file_is_opened_again_after_a_move(saved, data, tmp_path, make_card, monkeypatch):
    opened = []

    def spy(path: Path):
        opened.append(path.name)
        return load_image(path)

    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (data / "toy").rename(moved / "toy")
    monkeypatch.setattr("raysweep.tasks.reader.load_image", spy)
    again = index_task(make_card(), moved, known=Task.load(saved, moved))
    assert opened == ["0.png"], "only what could not be used is tried once more"
    assert again == Task.load(saved, moved)


def test_further_metrics_change_no_input_but_another_own_one_does(data, make_card):
    first = index_task(make_card(metrics=["accuracy"]), data).inputs()
    assert index_task(make_card(metrics=["accuracy", "auroc"]), data).inputs() == first
    assert index_task(make_card(metrics=["auroc", "accuracy"]), data).inputs() != first


def test_the_fingerprint_covers_bytes_labels_units_and_what_the_numbers_depend_on(data, make_card, write_image):
    def print_of(card=None, folder=data):
        return fingerprint(index_task(card or make_card(), folder).inputs())

    first = print_of()
    moved = data.parent / "moved"
    data.rename(moved)
    assert print_of(folder=moved) == first, "where the data stands is not part of it"
    moved.rename(data)
    assert print_of(make_card(title="Other", notes="words", n_images=4)) == first
    assert print_of(make_card(splits={"type": "folds", "k": 2})) != first
    labels = data / "toy" / "labels.csv"
    text = labels.read_text()
    labels.write_text(text.replace("0.png,a,p0", "0.png,a,q0"))
    assert print_of() != first
    labels.write_text(text.replace("0.png,a", "0.png,b"))
    assert print_of() != first
    labels.write_text(text)
    write_image(data / "toy" / "0.png", 50)
    assert print_of() != first


def test_the_fingerprint_covers_the_bytes_of_masks_and_what_their_numbers_mean(masked, make_card, write_image):
    card = make_card("segmentation", layout=PAIRS, unit="image")
    binary = make_card("segmentation", layout={**PAIRS, "masks": {"binarise": True}}, unit="image")
    first = index_task(card, masked).inputs()
    assert index_task(binary, masked).inputs() != first
    assert index_task(card.model_copy(update={"metrics": ["dice", "iou"]}), masked).inputs() == first
    objects = card.model_copy(update={"metrics": ["dice", "pq"]})  # these counts are kept when a final predicts
    assert index_task(objects, masked).inputs() != first
    apart = objects.model_copy(update={"objects": Objects(connectivity=4)})
    assert index_task(apart, masked).inputs() != index_task(objects, masked).inputs()
    write_image(masked / "toy" / "masks" / "0.png", np.eye(8, dtype=np.uint8))
    assert index_task(card, masked).inputs() != first


def test_the_inputs_do_not_grow_with_the_samples(make_task):
    few, many = make_task([("p", 0), ("q", 1)]), make_task([(f"p{i}", i % 2) for i in range(500)])
    assert len(str(few.inputs())) + 5 > len(str(many.inputs()))


def test_unchanged_files_of_a_known_task_are_not_opened_again(data, make_card, monkeypatch, write_image):
    opened = []

    def spy(path: Path):
        opened.append(path.name)
        return Image.open(path)

    monkeypatch.setattr("raysweep.tasks.reader.load_image", spy)
    known = index_task(make_card(), data)
    assert sorted(opened) == ["0.png", "1.png", "2.png", "3.png"]
    opened.clear()
    write_image(data / "toy" / "2.png", 77, size=(9, 9))
    again = index_task(make_card(), data, known=known)
    assert opened == ["2.png"]
    assert [a == b for a, b in zip(again.examined, known.examined, strict=True)] == [True, True, False, True]
    assert again.inputs() == index_task(make_card(), data).inputs()
    opened.clear()
    index_task(make_card(), data, known=index_task(make_card(), data, check_images=False))
    assert len(opened) == 4, "what was never decoded is not known"


def test_a_known_task_does_not_answer_for_another_reading_of_masks(masked, make_card):
    known = index_task(make_card("segmentation", layout=PAIRS, unit="image"), masked)
    flipped = {**PAIRS, "masks": {"values": {0: "gland", 1: "background"}}}
    again = index_task(make_card("segmentation", layout=flipped, unit="image"), masked, known=known)
    assert again == index_task(make_card("segmentation", layout=flipped, unit="image"), masked)
    assert again.masks.values == {0: "gland", 1: "background"}
    only = {**PAIRS, "masks": {"values": {0: "background"}}}
    with pytest.raises(RequestError, match=r"can be used .*pixel value 1 is no class"):
        index_task(make_card("segmentation", layout=only, unit="image"), masked, known=known)


def test_sample_names_the_classes_it_shows():
    assert Sample("x", "x", None, 1, "p").classes == (1,)
    assert Sample("x", "x", "m", None, "p", None, (0, 2)).classes == (0, 2)
