"""What the numbers in masks mean."""

import numpy as np
import pytest

from raysweep.errors import RequestError
from raysweep.tasks.masks import MaskOptions

CLASSES = ["background", "gland", "lumen"]


def test_values_are_class_ids_unless_told_otherwise():
    mask = np.array([[0, 1], [2, 0]], np.uint16)
    ids = MaskOptions().class_ids(mask, CLASSES)
    assert ids.dtype == np.uint8
    assert ids.tolist() == mask.tolist()
    with pytest.raises(RequestError, match="pixel value 3 is no class; known are 0, 1, 2"):
        MaskOptions().class_ids(mask + 1, CLASSES)


def test_several_values_may_mean_one_class():
    options = MaskOptions(values={0: "background", 10: "gland", 20: "gland", 255: "lumen"})
    assert options.class_ids(np.array([[0, 10, 20, 255]]), CLASSES).tolist() == [[0, 1, 1, 2]]
    with pytest.raises(RequestError, match="pixel value 11 is no class; known are 0, 10, 20, 255"):
        options.class_ids(np.array([[0, 11, 300]]), CLASSES)


def test_binarise_takes_every_instance_as_one_class():
    assert MaskOptions(binarise=True).class_ids(np.array([[0, 1, 900]]), CLASSES[:2]).tolist() == [[0, 1, 1]]
