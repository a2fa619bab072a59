"""Pickles of names become rows, and nothing in them is ever run."""

import os
import pickle
import pickletools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.errors import RequestError, WorkError
from raysweep.tasks.split_pickle import pickled_splits
from raysweep.tasks.splits import folds
from raysweep.tasks.task import index_task

# As Kawai et al. 2023 have it: fold -> side -> positions, and names without their folders.
KAWAI = {
    fold: {
        side: {"idx": numbers, "imgs": [f"img_{number}.jpg" for number in numbers]}
        for side, numbers in (("train", [n for n in range(6) if n not in (fold, fold + 3)]), ("val", [fold]),
                              ("test", [fold + 3]))
    }
    for fold in range(3)
}  # fmt: skip
REPEATED = {"type": "repeated", "file": "3fold.pickle", "divisions": ["0", "1", "2"]}


def written(folder: Path, value: object, protocol: int = 4, name: str = "3fold.pickle") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_gives_a_row_for_each_image(tmp_path, protocol):
    divisions, rows = pickled_splits(written(tmp_path, KAWAI, protocol))
    assert divisions == ["0", "1", "2"]
    assert sorted(rows, key=lambda row: row["image"])[:4] == [
        {"image": "img_0.jpg", "0": "val", "1": "train", "2": "train"},
        {"image": "img_1.jpg", "0": "train", "1": "val", "2": "train"},
        {"image": "img_2.jpg", "0": "train", "1": "train", "2": "val"},
        {"image": "img_3.jpg", "0": "test", "1": "train", "2": "train"},
    ]


NAMES = st.lists(st.text(min_size=1, max_size=4), unique=True, max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(["train", "val", "test"]), NAMES, min_size=1), st.integers(0, 5), st.booleans())
def test_one_division_without_a_name_reads_back(tmp_path_factory, sides, protocol, optimised):
    data = pickle.dumps(sides, protocol)
    path = written(tmp_path_factory.mktemp("p"), pickletools.optimize(data) if optimised else data)
    names = [name for of in sides.values() for name in of]
    if len(set(names)) < len(names):
        with pytest.raises(WorkError, match="is listed twice in the division split"):
            pickled_splits(path)
        return
    divisions, rows = pickled_splits(path)
    assert divisions == ["split"]
    assert {row["image"]: row["split"] for row in rows} == {name: side for side, of in sides.items() for name in of}


class _Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def attacks(marker: Path) -> dict[str, bytes]:
    """Ways to have a pickle call something, of which the standard library knows several."""
    run = _Runs(marker)
    mkdir, target = b"posix\nmkdir\n", f"V{marker}\n".encode()
    return {
        **{f"reduce {protocol}": pickle.dumps({"train": [run]}, protocol) for protocol in range(6)},
        "inst": b"(" + target + b"i" + mkdir + b".",
        "obj": b"(c" + mkdir + target + b"o.",
        "newobj": b"c" + mkdir + b"(" + target + b"t\x81.",
        "after the end": pickle.dumps({"train": ["a"]})[:-1] + b"c" + mkdir + target + b"\x85R.",
        "extension": b"\x82\x01.",
        "persistent": b"P" + mkdir,
        "build": b"}V__class__\n" + target + b"sb.",
    }


def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing(tmp_path):
    marker = tmp_path / "was_run"
    for name, data in attacks(marker).items():
        with pytest.raises(WorkError, match=r"asks for more than lists, dicts, texts and whole numbers .* as a CSV"):
            pickled_splits(written(tmp_path, data, name=f"{name}.pickle"))
        assert not marker.exists(), name
    pickle.loads(attacks(marker)["reduce 4"])  # what it would have done
    assert marker.is_dir()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "it is no pickle, or a broken one"),
        (b"image,split\na,train\n", "no pickle|asks for more"),
        (pickle.dumps(KAWAI)[:-9], "it is no pickle, or a broken one"),
        (b"\x80\x04j\xff\xff\xff\x7f.", "it is no pickle, or a broken one"),  # what was never remembered
        (
            b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x0fab.",
            "it is no pickle, or a broken one",
        ),  # a text of 2^59 bytes
        (b"I1\n(I2\ne.", "it adds to a int what a list is for"),
        (["a"], "it holds a list, not a dict of divisions"),
        ({}, "it holds a dict, not a dict of divisions"),
        ({0: {"train": ["a"], "test": 3}}, "test of the division 0 is no list of file names"),
        ({0: {"train": {"idx": [1]}}, 1: 5}, "train of the division 0 is no list of file names"),
        ({"train": [1, 2]}, "of the division train is no list of file names"),
        ({"train": ["a"], "test": ["a"]}, "a is listed twice in the division split"),
        ({"train": [0.5]}, r"asks for more than .* \(BINFLOAT\)"),
    ],
)
def test_what_holds_no_splits_is_refused(tmp_path, data, says):
    with pytest.raises(WorkError, match=says):
        pickled_splits(written(tmp_path, data))


@pytest.fixture
def data(tmp_path, write_image):
    for number in range(6):
        write_image(tmp_path / "toy" / "ab"[number % 2] / f"img_{number}.jpg", 40 * number)
    return tmp_path


def card_of(make_card, splits):
    return make_card(layout={"type": "image_folder"}, unit="image", splits=splits)


def test_a_card_divides_its_images_by_a_pickle(data, make_card):
    written(data / "toy", KAWAI)
    task = index_task(card_of(make_card, REPEATED), data)
    made = folds(task, 0)
    assert [[task.samples[i].image for i in fold.test] for fold in made] == [
        ["b/img_3.jpg"], ["a/img_4.jpg"], ["b/img_5.jpg"]
    ]  # fmt: skip
    assert [[task.samples[i].image for i in fold.val or []] for fold in made][1] == ["b/img_1.jpg"]
    sides = {"training": [f"img_{n}.jpg" for n in range(4)], "test": ["img_4.jpg", "img_5.jpg"]}
    written(data / "toy", sides, name="one.PKL")
    task = index_task(
        card_of(make_card, {"type": "file", "file": "one.PKL", "splits": {"training": "train"}}), data
    )  # fmt: skip
    assert [len(part) for part in (folds(task, 0)[0].train, folds(task, 0)[0].test)] == [4, 2]


def test_a_pickle_that_does_not_fit_the_card_is_refused(data, make_card, write_image):
    written(data / "toy", KAWAI)
    with pytest.raises(RequestError, match=r"3fold\.pickle has no split; it has 0, 1, 2: set splits\.type: repeated"):
        index_task(card_of(make_card, {"type": "file", "file": "3fold.pickle"}), data)
    with pytest.raises(RequestError, match=r"3fold\.pickle has no 3; it has 0, 1, 2: change divisions"):
        index_task(card_of(make_card, REPEATED | {"divisions": ["0", "3"]}), data)
    write_image(data / "toy/a/img_6.jpg", 1)
    with pytest.raises(RequestError, match=r"3fold\.pickle has no row for a/img_6\.jpg"):
        index_task(card_of(make_card, REPEATED), data)
    (data / "toy/a/img_6.jpg").rename(data / "toy/a/img_3.jpg")
    with pytest.raises(RequestError, match=r"names no folder, and 2 images are called img_3\.jpg; write their paths"):
        index_task(card_of(make_card, REPEATED), data)
    written(data / "toy", attacks(data / "was_run")["reduce 2"])
    with pytest.raises(RequestError, match=r"splits\.file: .*3fold\.pickle cannot be used: at byte \d+ it asks for"):
        index_task(card_of(make_card, REPEATED), data)
    assert not (data / "was_run").exists()
