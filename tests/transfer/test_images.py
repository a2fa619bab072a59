from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from raysweep.errors import WorkError
from raysweep.storage import Storage
from raysweep.tasks.read import read_sample
from raysweep.tasks.task import Task
from raysweep.transfer import images as module
from raysweep.transfer.images import open_images
from tests.transfer.tiny import data_of, open_saved


def test_small_images_are_enlarged_for_labels_and_mirrored_for_masks(saved_task: Callable[..., Storage]) -> None:
    images = open_saved(saved_task("classification", [(16, 24), (40, 36)]))
    assert images.get(0).image.shape == (32, 48, 3)
    np.testing.assert_array_equal(images.get(1).image, read_sample(images.task, 1)[0])


def test_padding_mirrors_image_and_mask_alike(saved_task: Callable[..., Storage]) -> None:
    images = open_saved(saved_task("segmentation", [(20, 40)]))
    picture, (image, mask) = images.get(0), read_sample(images.task, 0)
    assert (picture.height, picture.width) == (20, 40)
    assert picture.mask is not None
    assert picture.image.shape == (32, 40, 3)
    assert picture.mask.shape == (32, 40)
    np.testing.assert_array_equal(picture.image[:20], image)
    np.testing.assert_array_equal(picture.image[20:], image[18:6:-1])
    np.testing.assert_array_equal(picture.mask[20:], mask[18:6:-1])


def test_a_corrupt_image_is_one_sentence_that_names_the_file(
    saved_task: Callable[..., Storage], tmp_path: Path
) -> None:
    images = open_saved(saved_task("classification", [(32, 32)] * 2))
    (tmp_path / "data/images/1.png").write_bytes(b"no image")
    images.get(0)
    with pytest.raises(WorkError, match=r"images/1\.png cannot be read"):
        images.get(1)


def test_the_same_task_is_decoded_once_and_another_has_its_own(saved_task: Callable[..., Storage]) -> None:
    folder = saved_task("classification", [(32, 32)] * 2)
    images = open_saved(folder)
    first = images.get(0)
    assert open_saved(folder) is images
    assert open_saved(folder).get(0) is first
    task = Task.load(folder, data_of(folder))
    Task(task.card.model_copy(update={"px": 16}), task.root, task.samples).save(folder)
    assert open_saved(folder) is not images
    assert images.nbytes == 0  # what the earlier task kept is dropped for the later one


def test_no_more_is_kept_than_the_bound(saved_task: Callable[..., Storage], monkeypatch: pytest.MonkeyPatch) -> None:
    images = open_saved(saved_task("classification", [(32, 32)] * 4))
    monkeypatch.setattr(module, "_CACHE_BYTES", 2 * 32 * 32 * 3)
    pictures = [images.get(i) for i in range(4)]
    assert images.nbytes == 2 * 32 * 32 * 3
    assert images.get(1) is pictures[1]
    assert images.get(3) is not pictures[3]
    np.testing.assert_array_equal(images.get(3).image, pictures[3].image)


def test_where_the_data_stands_matters_too(saved_task: Callable[..., Storage], tmp_path: Path) -> None:
    folder = saved_task("classification", [(32, 32)] * 2)
    images = open_saved(folder)
    kept = images.get(0)
    (tmp_path / "data").rename(tmp_path / "moved")
    moved = open_images(folder, str(tmp_path / "moved"))
    assert moved is not images
    np.testing.assert_array_equal(moved.get(0).image, kept.image)
    with pytest.raises(WorkError, match=r"data/images/1\.png cannot be read"):
        images.get(1)
