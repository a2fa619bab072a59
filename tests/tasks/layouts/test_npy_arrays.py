"""The npy_arrays layout: rows of NumPy files, and masks of one channel a class."""

import numpy as np
import pytest

from raysweep.errors import RequestError
from raysweep.tasks.read import read_instances, read_sample
from raysweep.tasks.task import index_task

CLASSES = ["background", "tumour", "stroma"]


@pytest.fixture
def write(tmp_path):
    """Two rows a fold: two tumour objects of one number in different channels, touching, and a background channel."""

    def make(**changed):
        for fold in (1, 2):
            images = np.arange(2 * 6 * 8 * 3, dtype=np.float64).reshape(2, 6, 8, 3) % 256
            masks = np.zeros((2, 6, 8, 3))
            masks[:, 1:3, 1:4, 0] = 5
            masks[:, 1:3, 3:6, 1] = 5  # the column 3 is also the first channel's
            masks[:, 5, :2, 0] = 9
            masks[..., 2] = (masks[..., :2] == 0).all(axis=-1)
            arrays = {"images": images, "masks": masks} | {
                key: value for key, value in changed.items() if value is not None
            }
            for key, array in arrays.items():
                folder = tmp_path / "toy" / f"Fold {fold}" / key / f"fold{fold}"
                folder.mkdir(parents=True, exist_ok=True)
                np.save(folder / f"{key}.npy", array)
        return tmp_path

    return make


def card_of(make_card, **layout):
    plain = {"splits": {"1": "train", "2": "test"},
             "masks": {"values": {0: "background", 1: "tumour", 2: "stroma", 3: "background"}}}  # fmt: skip
    return make_card("segmentation", classes=CLASSES, unit="image", splits={"type": "given"},
                     layout={"type": "npy_arrays", **plain, **layout})  # fmt: skip


def test_rows_are_samples_of_their_fold(write, make_card):
    task = index_task(card_of(make_card), write())
    assert [(s.id, s.split) for s in task.samples] == [
        (f"Fold {fold}/images/fold{fold}/images.npy#{row}", split)
        for fold, split in ((1, "train"), (2, "test")) for row in (0, 1)
    ]  # fmt: skip
    assert {s.present for s in task.samples} == {(0, 1, 2)}
    pixels, ids = read_sample(task, 1)
    assert (pixels == np.arange(144, 288).reshape(6, 8, 3) % 256).all()
    expected = np.zeros((6, 8), np.uint8)
    expected[1:3, 3:6] = 2
    expected[1:3, 1:4] = 1  # of two channels the first
    expected[5, :2] = 1
    assert (ids == expected).all()


def test_objects_are_told_apart_by_channel_and_number(write, make_card):
    task = index_task(card_of(make_card), write())
    numbers = read_instances(task, 0)
    assert len(np.unique(numbers)) == 4
    assert (numbers[1:3, 1:4] == numbers[1, 1]).all()
    assert (numbers[1:3, 4:6] == numbers[1, 5]).all()
    assert numbers[0].max() == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"images": np.zeros((2, 6, 8, 4))},
            r"layout\.images: .*images\.npy is \(2, 6, 8, 4\), not rows of 3 channels",
        ),
        ({"masks": np.zeros((3, 6, 8, 3))}, r"has 2 rows of 8 x 6 px and .*masks\.npy 3 of 8 x 6: they do not belong"),
        ({"images": np.zeros((2, 6, 8))}, r"images\.npy cannot be used: it holds no rows of pictures with channels"),
        ({"images": np.full((2, 6, 8, 3), 0.7)}, r"images\.npy holds no whole numbers from 0 to 255; scale them"),
        ({"masks": np.array([{}], dtype=object)}, r"masks\.npy cannot be used: it is no array of numbers"),
    ],
)
def test_files_that_are_no_such_set_are_refused(write, make_card, changed, message):
    with pytest.raises(RequestError, match=message):
        index_task(card_of(make_card), write(**changed))


def test_a_missing_fold_is_named_with_what_is_there(write, make_card):
    data = write()
    (data / "toy/Fold 2/masks/fold2/masks.npy").rename(data / "toy/Fold 2/masks/fold2/other.npy")
    with pytest.raises(RequestError, match=r"layout\.mask: the file .*masks\.npy does not exist; there is other\.npy"):
        index_task(card_of(make_card), data)


@pytest.mark.parametrize("value", [0.5, -1, 300])
def test_pixels_that_are_no_bytes_are_left_out(write, make_card, value):
    images = np.zeros((2, 6, 8, 3))
    images[0, 0, 0, 0] = value
    task = index_task(card_of(make_card), write(images=images))
    with pytest.raises(Exception, match="no whole numbers from 0 to 255"):
        read_sample(task, 0)
    assert read_sample(task, 1)[0].max() == 0


def test_a_mask_of_half_an_object_is_left_out(write, make_card):
    masks = np.zeros((2, 6, 8, 3))
    masks[:, 0, :4, 0], masks[:, 1, :4, 1] = 1, 1
    masks[1, 0, 0, 0] = 0.5
    task = index_task(card_of(make_card), write(masks=masks))
    assert [reason for _, reason in task.excluded] == [
        f"its mask Fold {fold}/masks/fold{fold}/masks.npy#1 cannot be read: its mask has values that are no numbers of "
        "objects"
        for fold in (1, 2)
    ]


def test_patients_cannot_be_told(write, make_card):
    card = card_of(make_card).model_copy(update={"unit": "patient"})
    with pytest.raises(RequestError, match="says nothing of the patient of an image; set unit: image"):
        index_task(card, write())


def test_a_template_without_the_split_is_refused(make_card, write):
    with pytest.raises(RequestError, match=r"images: needs \{split\} in it"):
        index_task(card_of(make_card, images="a.npy"), write())
