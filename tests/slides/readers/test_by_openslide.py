"""What OpenSlide gives does not depend on how it is asked."""

import numpy as np
import openslide
import pytest

from raysweep.slides.readers.by_openslide import OpenSlideReader

from ..slidemaker import tissue, write_slide

BOXES = np.array([(x, y, x + 50, y + 50) for y in range(0, 300, 50) for x in range(0, 900, 50)])


@pytest.fixture(scope="module", params=[(4003, 1209), (4000, 1208)], ids=["odd", "even"])
def reader(request, tmp_path_factory):
    path = write_slide(tmp_path_factory.mktemp("slides") / "a.svs", tissue(*request.param), downsamples=(4,))
    reader = OpenSlideReader(path)
    yield reader
    reader.close()


def pixels(reader: OpenSlideReader, boxes: np.ndarray) -> np.ndarray:
    return np.stack([crop.copy() for crop in reader.crops(1, boxes)])


def test_neighbours_that_are_left_out_change_nothing(reader):
    every = pixels(reader, BOXES)
    np.testing.assert_array_equal(pixels(reader, BOXES[1::2]), every[1::2])
    for index in (0, 7, 17, 18, 40):
        np.testing.assert_array_equal(pixels(reader, BOXES[index : index + 1]), every[index : index + 1])


def test_neighbours_in_a_row_are_one_read(reader, monkeypatch):
    reads = []
    read = openslide.OpenSlide.read_region
    monkeypatch.setattr(openslide.OpenSlide, "read_region", lambda *args: reads.append(args) or read(*args))
    pixels(reader, BOXES)
    assert len(reads) == 6
