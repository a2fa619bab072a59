"""Thumbnails beside a task's index: small, at the mask's size, made once."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raysweep.errors import WorkError
from raysweep.storage import Storage, fingerprint
from raysweep.tasks import thumbnails
from raysweep.tasks.card import Card
from raysweep.tasks.masks import IGNORED
from raysweep.tasks.read import read_sample
from raysweep.tasks.sample import Sample
from raysweep.tasks.shown import shown_samples
from raysweep.tasks.splits import folds
from raysweep.tasks.task import Task
from raysweep.tasks.thumbnails import THUMBNAIL_PX, save_thumbnails, thumbnails_file


def _task(make_card: Callable[..., Card], write_image: Callable[..., None], folder: Path) -> Task:
    """Ten images of 300 x 600 and smaller, their left halves gland and a stripe that is ignored."""
    card = make_card("segmentation", layout={"type": "image_mask_pairs", "masks": {"ignore": [9]}})
    samples = []
    for i in range(10):
        height, width = (300, 600) if i % 2 else (40, 30)
        mask = np.zeros((height, width), np.uint8)
        mask[:, : width // 2] = 1
        mask[: height // 4] = 9
        write_image(folder / f"{i}.png", np.repeat(100 * (mask[..., None] == 1), 3, axis=2).astype(np.uint8))
        Image.fromarray(mask).save(folder / f"{i}-mask.png")
        samples.append(Sample(str(i), f"{i}.png", f"{i}-mask.png", None, f"p{i}", None, (0, 1)))
    return Task(card, folder, samples)


def _picture(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_they_show_the_tested_images_and_their_masks(
    make_card: Callable[..., Card], write_image: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, folder = _task(make_card, write_image, tmp_path / "data"), Storage.open(tmp_path / "task")
    before = fingerprint(task.inputs())
    save_thumbnails(task, folder, 0)
    rows = folder.read_table(thumbnails_file(0)).to_pylist()
    (shown,) = shown_samples(task, folds(task, 0), 0)
    assert [row["sample"] for row in rows] == [task.samples[i].id for i in shown]
    for row, index in zip(rows, shown, strict=True):
        image, mask = _picture(row["image"]), _picture(row["mask"])
        whole, ids = read_sample(task, index)
        assert ids is not None
        assert (row["height"], row["width"]) == whole.shape[:2]
        assert image.shape[:2] == mask.shape
        if max(whole.shape) > THUMBNAIL_PX:
            assert mask.shape == (128, 256)
        else:
            np.testing.assert_array_equal(mask, ids)
        assert set(np.unique(mask)) == {0, 1, IGNORED}
        assert image[mask == 1].mean() > 95 > 15 > image[mask == 0].mean()
    assert fingerprint(task.inputs()) == before

    kept = folder.read_bytes(thumbnails_file(0))
    for file in (tmp_path / "data").iterdir():
        file.unlink()
    save_thumbnails(task, folder, 0)  # they are there: nothing is read
    assert folder.read_bytes(thumbnails_file(0)) == kept
    with pytest.raises(WorkError, match=r"toy: .*\.png cannot be read"):
        save_thumbnails(task, folder, 1)
    newer = thumbnails._SCHEMA.with_metadata({"format": "another"})
    monkeypatch.setattr(thumbnails, "_SCHEMA", newer)
    with pytest.raises(WorkError):  # they are made anew
        save_thumbnails(task, folder, 0)


def test_images_with_labels_have_thumbnails_without_masks(
    make_card: Callable[..., Card], write_image: Callable[..., None], tmp_path: Path
) -> None:
    samples = []
    for i in range(8):
        write_image(tmp_path / "data" / f"{i}.png", 20 * i + 10, (300, 150))
        samples.append(Sample(str(i), f"{i}.png", None, i % 2, f"p{i}"))
    task, folder = Task(make_card(), tmp_path / "data", samples), Storage.open(tmp_path / "task")
    save_thumbnails(task, folder, 0)
    rows = folder.read_table(thumbnails_file(0)).to_pylist()
    (shown,) = shown_samples(task, folds(task, 0), 0)
    assert [row["sample"] for row in rows] == [str(i) for i in shown]
    for row, index in zip(rows, shown, strict=True):
        assert row["mask"] is None
        assert max(_picture(row["image"]).shape[:2]) == THUMBNAIL_PX
        assert abs(_picture(row["image"]).mean() - (20 * index + 10)) < 3
