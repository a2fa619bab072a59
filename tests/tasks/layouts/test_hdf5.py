"""The hdf5 layout: rows of PCam's files."""

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from raysweep.errors import RequestError, WorkError
from raysweep.tasks.oddities import find_oddities
from raysweep.tasks.read import read_instances, read_sample
from raysweep.tasks.splits import folds
from raysweep.tasks.task import index_task

SIZES = {"train": 6, "valid": 3, "test": 4}
META = {"meta": "camelyonpatch_level_2_split_{split}_meta.csv", "unit": "wsi"}


def pixels(word, n):
    return np.random.default_rng(len(word)).integers(0, 256, (n, 12, 12, 3), dtype=np.uint8)


@pytest.fixture
def data(tmp_path):
    root = tmp_path / "toy"
    root.mkdir()
    for word, n in SIZES.items():
        stem = f"camelyonpatch_level_2_split_{word}"
        with h5py.File(root / f"{stem}_x.h5", "w") as file:
            file.create_dataset("x", data=pixels(word, n), chunks=(2, 12, 12, 3), compression="gzip")
        with h5py.File(root / f"{stem}_y.h5", "w") as file:
            file["y"] = (np.arange(n) % 2).astype(np.uint8).reshape(n, 1, 1, 1)
        rows = "".join(f"{i},0,0,False,False,camelyon16_{word}_{i // 2}\n" for i in range(n))
        (root / f"{stem}_meta.csv").write_text(",coord_y,coord_x,tumor_patch,center_tumor_patch,wsi\n" + rows)
    return tmp_path


def pcam(make_card, how="given", by="slide", **layout):
    keys = {"type": "hdf5", **(META if by == "slide" else {}), **layout}
    layout = {key: value for key, value in keys.items() if value is not None}
    return make_card(unit=by, splits={"type": how}, layout=layout)


def test_rows_are_samples_in_their_official_split(data, make_card):
    task = index_task(pcam(make_card), data)
    (fold,) = folds(task, 0)
    assert [len(fold.train), len(fold.val), len(fold.test)] == [6, 3, 4]
    sample = task.samples[7]
    assert sample.id == sample.image == "camelyonpatch_level_2_split_valid_x.h5#1"
    assert (sample.label, sample.unit, sample.split) == (1, "camelyon16_valid_0", "val")
    np.testing.assert_array_equal(read_sample(task, 7)[0], pixels("valid", 3)[1])
    np.testing.assert_array_equal(read_sample(pickle.loads(pickle.dumps(task)), 12)[0], pixels("test", 4)[3])
    assert len({seen.identity for seen in task.examined}) == 13


def test_a_file_is_looked_at_once_for_all_of_its_rows(data, make_card, monkeypatch):
    seen = []
    for what in ("_stamp", "_identity"):
        take = getattr(__import__("raysweep.tasks.reader", fromlist=[what]), what)
        monkeypatch.setattr(
            f"raysweep.tasks.reader.{what}", lambda path, take=take: (seen.append(Path(path).name), take(path))[1]
        )
    task = index_task(pcam(make_card), data)
    assert sorted(seen) == sorted(2 * [f"camelyonpatch_level_2_split_{word}_x.h5" for word in SIZES])
    seen.clear()
    again = index_task(pcam(make_card), data, known=task)
    assert len(seen) == 3
    assert again.examined == task.examined


def test_one_file_with_grey_images_and_named_labels(tmp_path, make_card):
    (tmp_path / "toy").mkdir()
    grey = np.arange(4 * 5 * 7, dtype=np.uint8).reshape(4, 5, 7)
    with h5py.File(tmp_path / "toy/all.h5", "w") as file:
        file["images"], file["labels"] = grey, np.array([3, 7, 7, 3])
    card = pcam(make_card, "holdout", "image", images="all.h5", labels="all.h5", splits={}, image_key="images",
                label_key="labels", classes={3: "b", 7: "a"})  # fmt: skip
    task = index_task(card, tmp_path)
    assert [s.label for s in task.samples] == [1, 0, 0, 1]
    np.testing.assert_array_equal(read_sample(task, 2)[0], np.repeat(grey[2][..., None], 3, axis=2))


def test_a_file_that_goes_away_is_said(data, make_card):
    task = index_task(pcam(make_card), data)
    (data / "toy/camelyonpatch_level_2_split_test_x.h5").unlink()
    with pytest.raises(WorkError, match=r"split_test_x\.h5#0 cannot be read"):
        read_sample(pickle.loads(pickle.dumps(task)), 9)


def rewrite(data, word, which, key, values):
    with h5py.File(data / f"toy/camelyonpatch_level_2_split_{word}_{which}.h5", "w") as file:
        file[key] = values


@pytest.mark.parametrize(
    ("change", "layout", "says"),
    [
        (lambda d: rewrite(d, "test", "y", "y", [0, 1, 2, 0]), {}, "label 2 is none of the classes' numbers, 0 to 1"),
        (lambda d: rewrite(d, "test", "y", "y", [0, 1]), {}, "has 4 rows and .*test_y.h5 has 2"),
        (lambda d: rewrite(d, "test", "y", "y", np.eye(4)), {}, r"is float64 \(4, 4\), not one number for"),
        (lambda d: rewrite(d, "test", "y", "y", np.eye(2)[[0, 1]]), {}, "has 4 rows and .*test_y.h5 has 2"),
        (lambda d: rewrite(d, "test", "y", "y", 1), {}, "has 4 rows and .*test_y.h5 has 1"),
        (lambda d: rewrite(d, "test", "y", "y", [b"a", b"b"] * 2), {}, "not one number for each row"),
        (lambda d: rewrite(d, "test", "y", "y", [0, 1, np.nan, 0]), {}, "label nan is none of the classes' numbers"),
        (lambda d: rewrite(d, "test", "y", "y", [0, 1, 0.5, 0]), {"classes": {0: "a", 1: "b"}}, "label 0.5 is none of"),
        (lambda d: rewrite(d, "test", "y", "z", [0]), {}, "it has no dataset y; it has z"),
        (lambda d: rewrite(d, "valid", "x", "x", np.zeros((0, 2, 2, 3), np.uint8)) or rewrite(d, "valid", "y", "y", []),
         {}, "valid_x.h5 has no rows, so val is empty"),
        (lambda d: rewrite(d, "train", "x", "x", np.zeros((6, 2, 2, 3))), {}, "is float64 .* not 8-bit images"),
        (lambda d: (d / "toy/camelyonpatch_level_2_split_test_x.h5").rename(
            d / "toy/camelyonpatch_level_2_split_test_x.h5.gz"), {}, "does not exist; unpack .*x.h5.gz"),
        (lambda d: (d / "toy/camelyonpatch_level_2_split_test_x.h5").write_bytes(b"x"), {}, "cannot be used"),
        (lambda d: (d / "toy/camelyonpatch_level_2_split_test_x.h5").write_bytes(b"<html>"), {}, "it is a web page"),
        (lambda d: None, {"unit": "slide"}, "has no column 'slide'"),
        (lambda d: None, {"classes": {0: "c", 1: "b"}}, "'c' is none of the classes a, b"),
        (lambda d: None, {"images": "x.h5"}, r"images: needs \{split\} in it"),
        (lambda d: None, {"meta": None}, r"meta and unit \(or where, groups\) go together"),
        (lambda d: None, {"meta": None, "unit": None}, "name the column of meta that holds the slide"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_are_refused(data, make_card, change, layout, says):
    change(data)
    with pytest.raises(RequestError, match=says):
        index_task(pcam(make_card, **layout), data)


def masked(tmp_path, make_card, numbers, **keys):
    (tmp_path / "toy").mkdir(parents=True)
    with h5py.File(tmp_path / "toy/all.h5", "w") as file:
        file["image"] = np.random.default_rng(0).integers(0, 256, (4, 6, 9, 3), dtype=np.uint8)
        file["mask"] = numbers
    layout = {"type": "hdf5", "images": "all.h5", "mask": "all.h5", "image_key": "image", "splits": {}, **keys}
    return make_card("segmentation", unit="image", layout=layout)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
@pytest.mark.parametrize("channel", [(), (1,)])
def test_masks_are_rows_as_well(tmp_path, make_card, dtype, channel):
    masks = np.random.default_rng(1).integers(0, 2, (4, 6, 9, *channel)).astype(dtype)
    task = index_task(masked(tmp_path, make_card, masks), tmp_path)
    assert (task.samples[2].mask, task.samples[2].present) == ("all.h5#2", (0, 1))
    for row in range(4):
        image, ids = read_sample(pickle.loads(pickle.dumps(task)), row)
        assert image.shape == (6, 9, 3)
        np.testing.assert_array_equal(ids, masks[row].reshape(6, 9))


def test_masks_may_number_objects_and_one_with_an_unknown_value_is_left_out(tmp_path, make_card):
    masks = np.zeros((4, 6, 9), np.int32)
    masks[:, 1:3, 1:3], masks[:, 4:, 4:] = 1, 70_000
    task = index_task(masked(tmp_path, make_card, masks, masks={"instances": True}), tmp_path)
    np.testing.assert_array_equal(read_instances(task, 3), masks[3])
    assert read_sample(task, 3)[1].sum() == 14
    masks[:] = masks > 0
    masks[1], masks[2, 0, 0] = -1, 7
    reasons = dict(index_task(masked(tmp_path / "2", make_card, masks), tmp_path / "2").excluded)
    assert "mask holds numbers below 0 in row 1" in reasons["all.h5#1"]
    assert "pixel value 7 is no class" in reasons["all.h5#2"]


@pytest.mark.parametrize(
    ("masks", "layout", "says"),
    [
        (np.zeros((3, 6, 9), np.uint8), {}, "all.h5 has 4 rows and all.h5 has 3: they do not belong together"),
        (np.zeros((4, 9, 6), np.uint8), {}, r"layout\.mask: the images of all\.h5 are 9 x 6 px, and .* 6 x 9"),
        (np.zeros((4, 6, 9)), {}, r"layout\.mask: .*mask is float64 \(4, 6, 9\), not masks of whole numbers"),
        (np.zeros((4, 6, 9, 2), np.uint8), {}, "not masks of whole numbers"),
        (np.zeros((4, 6, 9), np.uint8), {"mask": None, "labels": "all.h5"}, r"layout\.mask: a segmentation task nee"),
        (np.zeros((4, 6, 9), np.uint8), {"mask_key": "masks"}, "it has no dataset masks; it has image, mask"),
        (np.zeros((4, 6, 9), np.uint8), {"image_key": "huge"}, "100000 x 1000 px, and a row has 1 to 67,108,864 p"),
        (np.zeros((4, 6, 9), np.uint8), {"image_key": "none"}, "none is of 0 x 6 px"),
    ],
)  # fmt: skip
def test_masks_that_do_not_fit_are_refused(tmp_path, make_card, masks, layout, says):
    card = masked(tmp_path, make_card, masks, **layout)
    with h5py.File(tmp_path / "toy/all.h5", "a") as file:
        if "image_key" in layout:  # nothing of it is written
            shape = (4, 1000, 100_000, 3) if layout["image_key"] == "huge" else (4, 6, 0, 3)
            file.create_dataset(layout["image_key"], shape, np.uint8)
    with pytest.raises(RequestError, match=says):
        index_task(card, tmp_path)


def test_filters_on_the_meta_table_leave_rows_out(data, make_card):
    for word, n in SIZES.items():
        rows = "".join(f"{i},c{i % 3},camelyon16_{word}_{i // 2}\n" for i in range(n))
        (data / f"toy/camelyonpatch_level_2_split_{word}_meta.csv").write_text("row,center,wsi\n" + rows)
    card = pcam(make_card, where={"center": ["c0", "c1"]})
    task = index_task(card, data)
    assert [sample.image[-9:] for sample in task.samples] == [
        f"{word[-5:]}_x.h5#{i}"[-9:] for word, n in SIZES.items() for i in range(n) if i % 3 < 2
    ]
    assert find_oddities(task).left_out == 4
    (fold,) = folds(task, 0)
    assert [len(fold.train), len(fold.val), len(fold.test)] == [4, 2, 3]
    with pytest.raises(RequestError, match=r"layout\.where: no row has 'c3' in the column 'center'; there is 'c"):
        index_task(pcam(make_card, where={"center": "c3"}), data)
    with pytest.raises(RequestError, match=r"meta and unit \(or where, groups\) go together"):
        index_task(pcam(make_card, by="image", where={"center": "c0"}), data)


def test_the_meta_table_names_subgroups(data, make_card):
    for word, n in SIZES.items():
        rows = "".join(f"c{i % 3},camelyon16_{word}_{i // 2}\n" for i in range(n))
        (data / f"toy/camelyonpatch_level_2_split_{word}_meta.csv").write_text("center,wsi\n" + rows)
    task = index_task(pcam(make_card, groups={"site": "center"}), data)
    assert [s.groups for s in task.samples] == [(("site", f"c{i % 3}"),) for n in SIZES.values() for i in range(n)]


def test_values_of_other_files_are_refused(data, make_card):
    (data / "secret.txt").write_bytes(bytes(6 * 12 * 12 * 3))
    with h5py.File(data / "toy/camelyonpatch_level_2_split_train_x.h5", "w") as file:
        file.create_dataset("x", (6, 12, 12, 3), np.uint8, external=[(str(data / "secret.txt"), 0, 6 * 12 * 12 * 3)])
    with pytest.raises(RequestError, match=r"layout\.images: .* cannot be used: the values of x are in another file"):
        index_task(pcam(make_card), data)


def test_labels_that_would_fill_the_memory_are_refused(data, make_card):
    with h5py.File(data / "toy/camelyonpatch_level_2_split_train_y.h5", "w") as file:
        file.create_dataset("y", (10**12,), np.uint8, chunks=(10**6,))
    with pytest.raises(RequestError, match=r"layout\.labels: .* cannot be used: y claims 931 GiB, more than 1"):
        index_task(pcam(make_card), data)
