"""Pixels: scale, kernel, masks, and files that broke since they were indexed."""

import numpy as np
import pytest
from PIL import Image

from raysweep.errors import WorkError
from raysweep.tasks.read import read_sample
from raysweep.tasks.task import index_task

PAIRS = {"type": "image_mask_pairs", "masks": {"binarise": True}}


@pytest.fixture
def data(tmp_path, write_image):
    rng = np.random.default_rng(0)
    write_image(tmp_path / "toy" / "images" / "0.png", rng.integers(0, 255, (20, 30, 3), dtype=np.uint8))
    mask = np.zeros((20, 30), np.uint16)
    mask[:10, :16] = 700  # an instance number beyond 8 bits
    write_image(tmp_path / "toy" / "masks" / "0.png", mask)
    return tmp_path


def test_without_a_scale_pixels_are_those_of_the_file(data, make_card):
    task = index_task(make_card("segmentation", layout=PAIRS, unit="image"), data)
    image, mask = read_sample(task, 0)
    assert np.array_equal(image, np.asarray(Image.open(data / "toy" / "images" / "0.png")))
    assert (image.dtype, mask.dtype) == (np.uint8, np.uint8)
    assert mask.sum() == 160
    assert mask[:10, :16].all()
    assert image.flags.writeable


def test_a_coarser_scale_shrinks_both_and_averages_the_image(data, make_card, write_image):
    stripes = np.zeros((20, 30, 3), np.uint8)
    stripes[:, ::2] = 200  # finer than the coarse pixels: an aliased kernel gives 0 or 200
    write_image(data / "toy" / "images" / "0.png", stripes)
    card = make_card("segmentation", layout=PAIRS, unit="image", mpp=0.5, at_mpp=1.0)
    image, mask = read_sample(index_task(card, data), 0)
    assert image.shape == (10, 15, 3)
    assert mask.shape == (10, 15)
    assert np.abs(image[:, 2:-2].astype(int) - 100).max() < 25
    assert set(np.unique(mask)) == {0, 1}
    assert mask[:5, :8].all()
    assert mask.sum() == 40


def test_masks_are_never_mixed(data, make_card, write_image):
    mask = np.zeros((20, 30), np.uint8)
    mask[:, 3::5] = 2
    mask[0, 0] = 1
    write_image(data / "toy" / "masks" / "0.png", mask)
    layout, classes = {"type": "image_mask_pairs"}, ["background", "gland", "lumen"]
    for at_mpp in (0.4, 0.7):
        card = make_card("segmentation", layout=layout, classes=classes, unit="image", mpp=0.5, at_mpp=at_mpp)
        _, scaled = read_sample(index_task(card, data), 0)
        assert not (scaled[2:, 2:] == 1).any(), "between 0 and 2 lies no class 1"
        assert (scaled == 2).any()


def test_edges_are_rounded_to_whole_pixels(data, make_card):
    card = make_card("segmentation", layout=PAIRS, unit="image", mpp=0.62, at_mpp=1.0)
    image, mask = read_sample(index_task(card, data), 0)
    assert image.shape[:2] == mask.shape == (12, 19)


def test_a_classification_sample_has_no_mask(tmp_path, make_card, write_image):
    for label in "ab":
        write_image(tmp_path / "toy" / label / "0.png", 7)
    task = index_task(make_card(layout={"type": "image_folder"}, unit="image"), tmp_path)
    image, mask = read_sample(task, 0)
    assert mask is None
    assert (image == 7).all()


def test_a_file_that_broke_since_is_named(data, make_card, write_image):
    task = index_task(make_card("segmentation", layout=PAIRS, unit="image"), data)
    write_image(data / "toy" / "masks" / "0.png", np.zeros((5, 5), np.uint8))
    with pytest.raises(WorkError, match=r"masks/0\.png does not have the size of its image"):
        read_sample(task, 0)
    (data / "toy" / "masks" / "0.png").unlink()
    with pytest.raises(WorkError, match=r"task toy: .*masks/0\.png cannot be read: FileNotFoundError"):
        read_sample(task, 0)
    (data / "toy" / "images" / "0.png").write_text("broken")
    with pytest.raises(WorkError, match=r"task toy: .*images/0\.png cannot be read"):
        read_sample(task, 0)
