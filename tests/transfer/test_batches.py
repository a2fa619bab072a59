from collections.abc import Callable
from dataclasses import astuple

import numpy as np
import pytest
import torch

from raysweep.storage import Storage
from raysweep.transfer.batches import Batches
from raysweep.transfer.images import Images, Picture
from raysweep.transfer.preprocess import Preprocess
from tests.transfer.tiny import open_saved


class Labelled(Images):
    """Pictures whose mask is a copy of their red channel, so that any difference of geometry shows."""

    def get(self, index: int) -> Picture:
        image = np.random.default_rng(index).integers(0, 255, (48, 40, 3)).astype(np.uint8)
        return Picture(image, image[..., 0].copy(), 48, 40)


def test_a_batch_is_a_function_of_seed_and_step(saved_task: Callable[..., Storage]) -> None:
    images = open_saved(saved_task("classification", [(40, 40)] * 7))
    one, two = (Batches(images, range(7), batch=3, seed=5) for _ in range(2))
    later = two.at(4)  # without the steps before
    np.testing.assert_array_equal([one.at(i) for i in range(5)][4].pixels, later.pixels)
    np.testing.assert_array_equal(one.at(4).colours, later.colours)
    assert later.pixels.shape == (3, 32, 32, 3)
    assert later.pixels.dtype == np.uint8
    other = Batches(images, range(7), batch=3, seed=6).at(4)
    assert not np.array_equal(other.pixels, later.pixels)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("kind", ["classification", "segmentation"])
def test_batches_that_come_ahead_are_the_same_to_the_bit(
    saved_task: Callable[..., Storage], kind: str, threads: int
) -> None:
    images = open_saved(saved_task(kind, [(40, 33), (20, 64)] * 4))
    plain, ahead = (Batches(images, range(8), batch=3, seed=5) for _ in range(2))
    found = list(ahead.steps(2, 9, threads=threads))
    assert len(found) == 7
    for step, batch in enumerate(found, start=2):
        wanted = plain.at(step)
        for one, other in zip(astuple(batch), astuple(wanted), strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


def test_every_sample_comes_once_an_epoch(saved_task: Callable[..., Storage]) -> None:
    batches = Batches(open_saved(saved_task("classification", [(32, 32)] * 7)), [2, 4, 6, 1], batch=3, seed=0)
    drawn = [i for step in range(4) for i in batches.indices(step)]
    epochs = [drawn[i : i + 4] for i in range(0, 12, 4)]
    assert all(sorted(epoch) == [1, 2, 4, 6] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_labels_follow_their_images(saved_task: Callable[..., Storage]) -> None:
    images = open_saved(saved_task("classification", [(32, 32)] * 6))
    batches = Batches(images, range(6), batch=6, seed=0)
    batch = batches.at(0)
    assert batch.targets.tolist() == [i % 2 for i in batches.indices(0)]
    bright = batch.pixels.mean((1, 2, 3)) > 125
    np.testing.assert_array_equal(bright, batch.targets == 1)


def test_image_and_mask_are_cut_and_turned_alike(saved_task: Callable[..., Storage]) -> None:
    images = Labelled(open_saved(saved_task("segmentation", [(48, 40)] * 2)).task, "labelled")
    batches = Batches(images, [0, 1], batch=64, seed=0)
    batch = batches.at(0)
    np.testing.assert_array_equal(batch.pixels[..., 0], batch.targets)
    known = {
        np.rot90(image[y : y + 32, x : x + 32][:, :: -1 if mirrored else 1], k).tobytes(): (i, k, mirrored, y, x)
        for i in (0, 1) for image in [images.get(i).image[..., 0]]
        for k in range(4) for mirrored in (False, True) for y in range(17) for x in range(9)
    }  # fmt: skip
    found = [known[crop.astype(np.uint8).tobytes()] for crop in batch.targets]
    assert [place[0] for place in found] == batches.indices(0)
    turns, places = {place[1:3] for place in found}, {place[3:] for place in found}
    assert len(turns) == 8
    assert len(places) > 20


def test_pixels_are_normalised_as_the_checkpoint_says() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3)).astype(np.uint8)
    result = Preprocess((0.5, 0.4, 0.3), (0.1, 0.2, 0.3), torch.device("cpu"))(pixels)
    expected = (pixels / 255 - [0.5, 0.4, 0.3]) / [0.1, 0.2, 0.3]
    np.testing.assert_allclose(result.numpy(), expected.transpose(0, 3, 1, 2), rtol=1e-4, atol=1e-5)


def test_colours_change_as_much_as_asked_and_not_at_all_for_zero() -> None:
    plain = Preprocess((0, 0, 0), (1, 1, 1), torch.device("cpu"))
    pixels = np.random.default_rng(0).integers(80, 150, (4, 8, 8, 3)).astype(np.uint8)
    none = plain(pixels)
    torch.testing.assert_close(plain(pixels, np.zeros((4, 3))), none)
    one = np.eye(4, 3, dtype=np.float32)  # brighter, more contrast, more saturation, as it was
    brighter, contrast, saturated, same = plain(pixels, one)
    torch.testing.assert_close(brighter, none[0] * 1.3)
    torch.testing.assert_close(contrast.mean(), none[1].mean(), rtol=0.01, atol=0)
    torch.testing.assert_close(contrast.std() / none[1].std(), torch.tensor(1.3), rtol=0.01, atol=0)
    assert (saturated.std(0) > none[2].std(0) * 1.2).all()
    torch.testing.assert_close(same, none[3])
