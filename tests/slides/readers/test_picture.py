"""Plain pictures as slides."""

import numpy as np
import pytest
from PIL import Image

from raysweep.errors import WorkError
from raysweep.slides.slide import Slide

from ..slidemaker import tissue


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_a_picture_is_a_slide_of_one_level(tmp_path, suffix):
    pixels = tissue(300, 200)
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}")
    with Slide(tmp_path / f"a.{suffix}", mpp=0.42) as slide:
        assert (slide.reader.name, slide.size, slide.downsamples) == ("picture", (300, 200), [(1.0, 1.0)])
        assert (slide.mpp, slide.mpp_source) == (0.42, "table")
        np.testing.assert_array_equal(slide.read(0, 10, 20, 50, 60), pixels[20:80, 10:60])
        edge = slide.read(0, 280, -10, 40, 30)
        np.testing.assert_array_equal(edge[10:, :20], pixels[:20, 280:])
        assert (edge[:10] == 255).all() and (edge[:, 20:] == 255).all()  # noqa: PT018


def test_transparent_is_glass(tmp_path):
    pixels = np.dstack([tissue(64, 64), np.full((64, 64), 255, np.uint8)])
    pixels[:32, :, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with Slide(tmp_path / "a.png", mpp=0.5) as slide:
        assert (slide.read(0, 0, 0, 64, 32) == 255).all()


def test_a_picture_without_mpp_says_so(tmp_path):
    Image.fromarray(tissue(64, 64)).save(tmp_path / "a.png")
    with pytest.raises(WorkError, match=r"^no mpp: give one"):
        Slide(tmp_path / "a.png")


def test_damaged_and_huge_pictures(tmp_path, monkeypatch):
    Image.fromarray(tissue(640, 640)).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(WorkError, match="the picture cannot be decoded"):
        Slide(tmp_path / "cut.png", mpp=0.5)
    monkeypatch.setattr("raysweep.slides.readers.picture._MOST_PIXELS", 1000)
    with pytest.raises(WorkError, match=r"640 x 640 pixels that is no pyramid"):
        Slide(tmp_path / "a.png", mpp=0.5)
