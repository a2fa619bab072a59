"""Splits from a table: below the root or beside the card, by unit or by image, one or several divisions."""

import pytest

from raysweep.errors import RequestError
from raysweep.storage import Storage
from raysweep.tasks.cards import load_card
from raysweep.tasks.source import train_rows
from raysweep.tasks.splits import folds
from raysweep.tasks.task import Task, index_task

UNITS = ["p0", "p1", "p2", "p3", "p4", "p5"]
LAYOUT = {"type": "image_folder", "unit": r"(p\d)"}
REPEATED = {"type": "repeated", "file": "splits.csv", "divisions": ["d1", "d2"], "splits": {"0": "train", "1": "test"}}


@pytest.fixture
def data(tmp_path, write_image):
    for unit in UNITS:
        for folder in ("a", "b"):
            write_image(tmp_path / "data/toy" / folder / f"{unit}.png", 50)
    return tmp_path / "data"


def table(folder, *lines):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "splits.csv").write_text("\n".join(lines))


def indexed(make_card, data, splits):
    return index_task(make_card(layout=LAYOUT, splits=splits), data)


def names(task, indices):
    return sorted({task.samples[i].unit for i in indices})


def test_a_table_names_the_split_of_each_unit(make_card, data):
    table(data / "toy", "unit,split", "p0,train", "p1,train", "p2,validation", "p3,test", "p4,test", "p5,test", "p9,x")
    (data / "toy/splits.csv").write_text((data / "toy/splits.csv").read_text().replace("p9,x", "p9,train"))
    task = indexed(make_card, data, {"type": "file", "file": "splits.csv", "splits": {"validation": "val"}})
    (fold,) = folds(task, 0)
    assert [names(task, part) for part in (fold.train, fold.val, fold.test)] == [["p0", "p1"], ["p2"], UNITS[3:]]
    assert train_rows(task, None, 0) == {"a/p0.png", "a/p1.png", "b/p0.png", "b/p1.png"}


def test_a_table_beside_the_card_names_images(tmp_path, make_card, data):
    sides = [f"{f}/{u}.png,{'test' if u > 'p3' else 'train'}" for u in UNITS for f in "ab"]
    table(tmp_path / "cards", "image,split", *sides)
    card = make_card(layout=LAYOUT, splits={"type": "file", "file": "splits.csv"})
    text = card.model_dump_json(exclude_unset=True)
    (tmp_path / "cards/toy.yaml").write_text(text)  # JSON is YAML
    for found in (load_card("toy", [tmp_path / "cards"]), load_card(card.model_dump(), [tmp_path / "cards"])):
        task = index_task(found, data)
        assert names(task, folds(task, 0)[0].test) == ["p4", "p5"]
        assert str(tmp_path) not in task.card.model_dump_json()


def test_paths_of_a_table_may_be_those_of_windows(make_card, data):
    sides = [rf".\{f}\{u}.png,{'test' if u > 'p3' else 'train'}" for u in UNITS for f in "ab"]
    table(data / "toy", "image,split", *sides)
    task = index_task(make_card(layout=LAYOUT, splits={"type": "file", "file": "splits.csv"}), data)
    assert names(task, folds(task, 0)[0].test) == ["p4", "p5"]


def test_images_may_be_named_without_their_folders_where_that_tells_them_apart(make_card, data, write_image):
    for number, folder in enumerate("ab" * 2):
        write_image(data / f"other/{folder}/x{number}.png", 50)
    table(data / "other", "image,split", *(f"x{n}.png,{'train' if n < 2 else 'test'}" for n in range(4)))
    card = make_card(root="other", unit="image", layout={"type": "image_folder"},
                     splits={"type": "file", "file": "splits.csv"})  # fmt: skip
    task = index_task(card, data)
    assert [task.samples[i].image for i in folds(task, 0)[0].test] == ["a/x2.png", "b/x3.png"]
    (data / "other/a/x2.png").rename(data / "other/a/x3.png")
    with pytest.raises(RequestError, match=r"splits\.csv names no folder, and 2 images are called x3\.png; write"):
        index_task(card, data)


def test_several_divisions_survive_saving_and_count_in_the_fingerprint(tmp_path, make_card, data):
    table(data / "toy", "unit,d1,d2", "p0,0,0", "p1,0,0", "p2,1,0", "p3,1,1", "p4,1,1", "p5,,1")
    task = indexed(make_card, data, REPEATED)
    first, second = folds(task, 0)
    assert [names(task, fold.test) for fold in (first, second)] == [["p2", "p3", "p4"], ["p3", "p4", "p5"]]
    assert names(task, first.train) == ["p0", "p1"]
    assert train_rows(task, None, 0) == {"a/p0.png", "a/p1.png", "b/p0.png", "b/p1.png"}
    task.save(Storage.open(tmp_path / "saved"))
    loaded = Task.load(Storage.open(tmp_path / "saved"), data)
    assert (loaded.samples, loaded.inputs()) == (task.samples, task.inputs())
    table(data / "toy", "unit,d1,d2", "p0,0,0", "p1,0,0", "p2,1,1", "p3,1,1", "p4,1,1", "p5,,1")
    assert indexed(make_card, data, REPEATED).inputs() != task.inputs()


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["unit,split", *(f"{u},train" for u in UNITS)], "splits.type file: nothing is in test"),
        (["unit,split", *(f"{u},test" for u in UNITS)], "train has no image of class a"),
        (["unit,split", "p0,train"], "splits.csv has no row for patient p1"),
        (["unit,split", "p0,train", "p0,test"], "the unit p0 is listed twice"),
        (["unit,split", "p0,holdout"], "'holdout' is none of train, val, test"),
        (["unit,side", "p0,train"], "has no column 'split'"),
        (["patient,split", "p0,train"], "splits.csv has no column unit or image"),
        (["image,split", *(f"{f}/{u}.png,{'train' if (f + u) in 'ap0 bp3' else 'test'}" for u in UNITS for f in "ab")],
         "is in train and in test"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_used_are_refused(make_card, data, lines, says):
    table(data / "toy", *lines)
    with pytest.raises(RequestError, match=says):
        indexed(make_card, data, {"type": "file", "file": "splits.csv"})


def test_a_missing_table_and_an_empty_division_are_refused(make_card, data):
    with pytest.raises(RequestError, match=r"splits\.file: there is no splits\.csv in .*toy"):
        indexed(make_card, data, {"type": "file", "file": "splits.csv"})
    table(data / "toy", "unit,d1,d2", *(f"{u},{int(u > 'p2')},0" for u in UNITS))
    with pytest.raises(RequestError, match=r"splits\.type repeated: d2: nothing is in test"):
        indexed(make_card, data, REPEATED)


@pytest.mark.parametrize(
    ("splits", "says"),
    [
        ({"type": "file"}, "file: file needs it"),
        ({"type": "repeated", "file": "x.csv", "divisions": ["a"]}, "divisions: repeated needs two columns"),
        ({"type": "shares", "shares": [0.9, 0.2, 0.1]}, "shares: the parts of train, val and test add up to 1"),
        ({"type": "shares", "shares": [0.9, 0.1, 0.0]}, "only val may be 0"),
    ],
)
def test_splits_that_say_too_little_are_refused(make_card, splits, says):
    with pytest.raises(ValueError, match=says):
        make_card(splits=splits)
