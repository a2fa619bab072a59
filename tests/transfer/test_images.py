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


def test_the_same_task_is_decoded_once_and_another_has_its_own(
    saved_task: Callable[..., Storage], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    monkeypatch.setattr(module, "read_sample", lambda task, index: read.append(index) or read_sample(task, index))
    folder = saved_task("segmentation", [(32, 32), (20, 45)])
    images = open_saved(folder)
    first = [images.get(i) for i in (0, 1)]
    assert open_saved(folder) is images
    for index in (0, 1):
        again = open_saved(folder).get(index)
        assert (again.height, again.width) == (first[index].height, first[index].width)
        np.testing.assert_array_equal(again.image, first[index].image)
        np.testing.assert_array_equal(again.mask, first[index].mask)
    assert read == [0, 1]
    task = Task.load(folder, data_of(folder))
    Task(task.card.model_copy(update={"px": 16}), task.root, task.samples).save(folder)
    assert open_saved(folder) is not images
    assert open_saved(folder).get(1).image.shape == (20, 45, 3)
    assert read == [0, 1, 1]


def test_labels_have_no_mask_from_the_cache_either(saved_task: Callable[..., Storage]) -> None:
    images = open_saved(saved_task("classification", [(32, 32)]))
    assert [images.get(0).mask for _ in range(2)] == [None, None]


def test_a_process_holds_a_few_tasks(saved_task: Callable[..., Storage], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_opened", {})
    folder = saved_task("classification", [(32, 32)])
    task = Task.load(folder, data_of(folder))
    for px in range(16, 24):
        Task(task.card.model_copy(update={"px": px}), task.root, task.samples).save(folder)
        latest = open_saved(folder)
        assert list(module._opened.values())[-1] is latest
    assert len(module._opened) == module._TASKS


def test_beyond_the_bound_samples_are_read_each_time(
    saved_task: Callable[..., Storage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HELD_BYTES", 2 * 4096)
    read = []
    monkeypatch.setattr(module, "read_sample", lambda task, index: read.append(index) or read_sample(task, index))
    images = open_saved(saved_task("classification", [(32, 32)] * 4))
    pictures = [[images.get(i) for i in range(4)] for _ in range(2)]
    assert read == [0, 1, 2, 3, 2, 3]
    for one, other in zip(*pictures, strict=True):
        np.testing.assert_array_equal(one.image, other.image)


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
