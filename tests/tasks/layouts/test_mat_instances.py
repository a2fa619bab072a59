"""The mat_instances layout: objects and classes from MATLAB files, old and new."""

import h5py
import numpy as np
import pytest
import scipy.io

from raysweep.errors import RequestError
from raysweep.tasks.read import read_instances, read_sample
from raysweep.tasks.task import index_task

NUMBERS = np.zeros((6, 9), np.float64)
NUMBERS[1:3, 1:4], NUMBERS[4:, 5:] = 1, 300
TYPES = np.where(NUMBERS == 300, 2, NUMBERS).astype(np.uint8)


@pytest.fixture
def root(tmp_path, write_image):
    for name in ("p1_x", "p2_y"):
        write_image(tmp_path / f"toy/Images/{name}.png", 120, (9, 6))
        (tmp_path / "toy/Labels").mkdir(exist_ok=True)
        scipy.io.savemat(tmp_path / f"toy/Labels/{name}.mat", {"inst_map": NUMBERS, "type_map": TYPES})
    return tmp_path


def mats(make_card, **keys):
    plain = {"classes": ["background", "nucleus"]}
    layout = {"type": "mat_instances", "unit": r"(p\d)_", **keys.pop("layout", {})}
    return make_card("segmentation", **{**plain, **keys}, layout=layout)


def test_objects_are_one_class_and_keep_their_numbers(root, make_card):
    task = index_task(mats(make_card), root)
    assert [(s.unit, s.present) for s in task.samples] == [("p1", (0, 1)), ("p2", (0, 1))]
    image, mask = read_sample(task, 0)
    assert image.shape == (6, 9, 3)
    np.testing.assert_array_equal(mask, NUMBERS > 0)
    got = read_instances(task, 1)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, NUMBERS)


def test_a_type_map_gives_the_classes(root, make_card):
    classes = ["background", "lymphocyte", "tumour"]
    layout = {"type_map": "type_map", "masks": {"values": {0: "background", 1: "tumour", 2: "lymphocyte"}}}
    task = index_task(mats(make_card, classes=classes, layout=layout), root)
    np.testing.assert_array_equal(read_sample(task, 0)[1], np.array([0, 2, 1])[TYPES])
    np.testing.assert_array_equal(read_instances(task, 0), NUMBERS)
    plain = index_task(mats(make_card), root)
    assert plain.inputs()["reads"] != task.inputs()["reads"]


def test_version_73_is_read_with_its_axes_turned_back(root, make_card):
    with h5py.File(root / "toy/Labels/p1_x.mat", "w", userblock_size=512) as file:
        file["inst_map"] = NUMBERS.T  # MATLAB stores columns first
    with open(root / "toy/Labels/p1_x.mat", "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    task = index_task(mats(make_card), root)
    assert not task.excluded
    np.testing.assert_array_equal(read_instances(task, 0), NUMBERS)


def test_instances_are_scaled_as_masks_are(root, make_card):
    task = index_task(mats(make_card, mpp=0.25, at_mpp=0.5), root)
    numbers, mask = read_instances(task, 0), read_sample(task, 0)[1]
    assert numbers.shape == mask.shape == (3, 4)
    np.testing.assert_array_equal(numbers > 0, mask == 1)


@pytest.mark.parametrize(
    ("held", "says"),
    [
        ({"type_map": TYPES}, "it has no inst_map, only type_map; name the variable in layout"),
        ({"inst_map": NUMBERS + 0.5}, "inst_map holds other than whole numbers"),
        ({"inst_map": -NUMBERS}, "inst_map holds numbers below 0"),
        ({"inst_map": "text"}, "inst_map is no map of numbers"),
        ({"inst_map": NUMBERS.T}, "the image is 9 x 6 px, its mask .* is 6 x 9 px"),
    ],
)
def test_files_without_a_map_are_left_out_and_said(root, make_card, held, says):
    scipy.io.savemat(root / "toy/Labels/p1_x.mat", held)
    task = index_task(mats(make_card), root)
    assert len(task.samples) == 1
    [(name, reason)] = task.excluded
    assert name == "Images/p1_x.png"
    assert says.split(".*")[0] in reason
    assert says.split(".*")[-1] in reason


def test_a_set_without_any_map_is_refused(root, make_card):
    for name in ("p1_x", "p2_y"):
        scipy.io.savemat(root / f"toy/Labels/{name}.mat", {"type_map": TYPES})
    with pytest.raises(RequestError, match=r"no image below .* can be used .*it has no inst_map"):
        index_task(mats(make_card), root)


def test_several_classes_need_a_type_map(root, make_card):
    with pytest.raises(RequestError, match=r"layout\.masks\.instances: needs exactly two classes"):
        index_task(mats(make_card, classes=["background", "a", "b"]), root)


def test_masks_that_number_nothing_have_no_instances(root, make_card, write_image):
    for name in ("p1_x", "p2_y"):
        write_image(root / f"toy/masks/{name}.png", NUMBERS.astype(np.uint16))
    layout = {"type": "image_mask_pairs", "images": "Images/*.png"}
    named = {"values": {0: "background", 1: "nucleus", 300: "nucleus"}}
    with pytest.raises(RequestError, match=r"its masks do not tell objects apart; set layout\.masks\.instances"):
        read_instances(index_task(mats(make_card, layout={**layout, "masks": named}), root), 0)
    task = index_task(mats(make_card, layout={**layout, "masks": {"instances": True}}), root)
    np.testing.assert_array_equal(read_instances(task, 0), NUMBERS)
    np.testing.assert_array_equal(read_sample(task, 0)[1], NUMBERS > 0)
