from collections.abc import Callable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from raysweep.storage import Storage
from raysweep.tasks.read import read_sample
from raysweep.tasks.task import Task
from raysweep.transfer.images import Images, Picture
from raysweep.transfer.windows import average_windows, stitch_windows, window_origins
from tests.transfer.tiny import open_saved


class Counted(Images):
    """Remembers what was asked for."""

    def __init__(self, task: Task, key: str) -> None:
        super().__init__(task, key)
        self.got: list[int] = []

    def get(self, index: int) -> Picture:
        self.got.append(index)
        return super().get(index)


@given(st.integers(16, 80), st.integers(16, 80), st.integers(1, 16))
def test_windows_cover_an_image_and_stay_inside(height: int, width: int, px: int) -> None:
    covered = np.zeros((height, width), bool)
    origins = window_origins(height, width, px)
    for y, x in origins:
        assert 0 <= y <= height - px
        assert 0 <= x <= width - px
        covered[y : y + px, x : x + px] = True
    assert covered.all()
    assert len(origins) == len(set(origins)) == -(-height // px) * -(-width // px)


def test_stitched_windows_of_an_identity_are_the_whole_images(saved_task: Callable[..., Storage]) -> None:
    sizes = [(32, 32), (70, 45), (20, 50), (10, 7)]  # exact, larger, smaller in one edge, smaller in both
    images = Counted(open_saved(saved_task("segmentation", sizes)).task, "counted")
    order = [1, 3, 0, 2, 1]
    calls = []

    def identity(pixels: np.ndarray) -> np.ndarray:
        assert pixels.shape[1:] == (32, 32, 3)
        calls.append(len(pixels))
        return pixels.astype(np.float32)

    stitched = list(stitch_windows(images, order, identity, batch=3))
    assert [result.shape[:2] for _, result in stitched] == [sizes[i] for i in order]
    for index, (picture, result) in zip(order, stitched, strict=True):
        image, mask = read_sample(images.task, index)
        np.testing.assert_array_equal(result, image)
        np.testing.assert_array_equal(picture.mask[: picture.height, : picture.width], mask)
    assert sorted(images.got) == sorted(order)  # each once, though it is looked at twice: for windows and for their map
    assert calls == [3] * 5 + [1]  # windows of several images share a batch: 6 + 1 + 1 + 2 + 6


def test_averages_are_over_the_windows_of_each_sample(saved_task: Callable[..., Storage]) -> None:
    images = open_saved(saved_task("classification", [(32, 64), (32, 32), (64, 64)]))
    result = average_windows(images, [2, 0, 1], lambda p: p.mean((1, 2)), batch=2)
    assert result.dtype == np.float32
    expected = [read_sample(images.task, i)[0].mean((0, 1)) for i in (2, 0, 1)]
    np.testing.assert_allclose(result, expected, rtol=1e-5)
