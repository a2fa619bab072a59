"""What the numbers in masks mean."""

import io

import numpy as np
import pytest
from PIL import Image

from raysweep.errors import RequestError, WorkError
from raysweep.tasks.masks import IGNORED, MaskOptions

CLASSES = ["background", "gland", "lumen"]


def test_values_are_class_ids_unless_told_otherwise():
    mask = np.array([[0, 1], [2, 0]], np.uint16)
    ids = MaskOptions().class_ids(mask, CLASSES)
    assert ids.dtype == np.uint8
    assert ids.tolist() == mask.tolist()
    with pytest.raises(WorkError, match="pixel value 3 is no class; known are 0, 1, 2"):
        MaskOptions().class_ids(mask + 1, CLASSES)


def test_several_values_may_mean_one_class():
    options = MaskOptions(values={0: "background", 10: "gland", 20: "gland", 255: "lumen"})
    assert options.class_ids(np.array([[0, 10, 20, 255]]), CLASSES).tolist() == [[0, 1, 1, 2]]
    with pytest.raises(WorkError, match="pixel value 11 is no class; known are 0, 10, 20, 255"):
        options.class_ids(np.array([[0, 11, 300]]), CLASSES)


def test_binarise_takes_every_instance_as_one_class():
    assert MaskOptions(binarise=True).class_ids(np.array([[0, 1, 900]]), CLASSES[:2]).tolist() == [[0, 1, 1]]


def test_ignored_values_get_an_id_of_their_own():
    mask = np.array([[0, 1, 255, 254]], np.uint8)
    assert MaskOptions(ignore=[254, 255]).class_ids(mask, CLASSES).tolist() == [[0, 1, IGNORED, IGNORED]]
    options = MaskOptions(values={1: "gland"}, ignore=[0, 254, 255])
    assert options.class_ids(mask, CLASSES).tolist() == [[IGNORED, 1, IGNORED, IGNORED]]
    assert MaskOptions(binarise=True, ignore=255).class_ids(mask, CLASSES[:2]).tolist() == [[0, 1, IGNORED, 1]]


def test_large_numbers_cost_no_memory():
    with pytest.raises(WorkError, match="pixel value 2147483647 is no class"):
        MaskOptions().class_ids(np.array([[0, 2**31 - 1]], np.int32), CLASSES)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"values": {0: "gland", 255: "ignore"}}, r"ignore is none of the classes .*; list 255 under x\.ignore"),
        ({"ignore": [1]}, "1 also means a class"),
        ({"values": {255: "gland"}, "ignore": 255}, "255 also means a class"),
        ({"ignore": [-1]}, "pixel values are at least 0"),
        ({"ignore": [70000]}, "at most 65535"),
    ],
)
def test_values_mean_one_thing(options, says):
    with pytest.raises(RequestError, match=says):
        MaskOptions(**options).check(CLASSES, "x")


def _jpeg(mask, quality):
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer))


def test_a_blurred_mask_is_not_taken_for_instances():
    drawn = np.zeros((96, 96), np.uint8)
    drawn[(np.add.outer(np.arange(96), np.arange(96)) % 64) < 32] = 255
    assert MaskOptions(binarise=True).class_ids(drawn, CLASSES[:2]).max() == 1
    smooth = np.array(Image.fromarray(drawn).resize((144, 144), Image.Resampling.BILINEAR))
    for mask in (_jpeg(drawn, 60), _jpeg(drawn, 95), smooth, _jpeg(drawn // 255 * 128, 90), smooth // 2):
        with pytest.raises(WorkError, match="no instance numbers"):
            MaskOptions(binarise=True).class_ids(mask, CLASSES[:2])
    instances = np.kron(np.arange(200, 236, dtype=np.uint8).reshape(6, 6), np.ones((16, 16), np.uint8))
    for mask in (instances, instances + 20, instances.astype(np.uint16) * 200):
        assert (MaskOptions(binarise=True).class_ids(mask, CLASSES[:2]) == 1).all()


def test_a_channel_is_a_part_of_fingerprints_where_it_is_named():
    """So that what was made before there was the key stays as it is."""
    assert MaskOptions().inputs() == {"binarise": False, "instances": False, "values": {}, "ignore": []}
    assert MaskOptions(channel="red").inputs() == {**MaskOptions().inputs(), "channel": "red"}
