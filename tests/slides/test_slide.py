"""Reading slides: resolution, pixels at every level, thumbnails, and files that are no slides."""

import numpy as np
import pytest
import tifffile

from raysweep.errors import WorkError
from raysweep.slides.slide import Slide

from .slidemaker import glass, ramp, slide_with_tissue, tissue, write_slide


def test_metadata_and_override(tmp_path):
    path = write_slide(tmp_path / "a.svs", glass(300, 200), mpp=0.25)
    with Slide(path) as slide:
        assert (slide.size, slide.mpp, slide.mpp_xy, slide.mpp_source) == ((300, 200), 0.25, (0.25, 0.25), "metadata")
        assert slide.level_sizes == [(300, 200), (75, 50)]
        assert slide.downsamples == [(1.0, 1.0), (4.0, 4.0)]
    with Slide(path, mpp=0.5) as slide:
        assert (slide.mpp, slide.mpp_source) == (0.5, "table")


@pytest.mark.parametrize("mpp", [None, 0, -0.5])
def test_a_slide_without_mpp_is_refused_unless_one_is_given(tmp_path, mpp):
    path = write_slide(tmp_path / "a.svs", glass(100, 100), mpp=mpp)
    with pytest.raises(WorkError, match=r"^no mpp: give one in the slide table's mpp column$"):
        Slide(path)
    with Slide(path, mpp=0.4) as slide:
        assert slide.mpp == 0.4


@pytest.mark.parametrize(("x", "y"), [(4000, 4020), (4000, 5000)])
def test_mpp_per_axis(tmp_path, x, y):
    path = tmp_path / "a.tif"  # pixels per cm
    tifffile.imwrite(path, glass(128, 64), tile=(64, 64), photometric="rgb", resolution=(x, y), resolutionunit=3)
    with Slide(path) as slide:
        exact = 10_000 / x, 10_000 / y
        assert slide.mpp_xy == pytest.approx(exact, rel=1e-6)
        assert slide.mpp == pytest.approx((exact[0] * exact[1]) ** 0.5, rel=1e-6)
        assert slide.mpp_source == "tiff resolution"


@pytest.mark.parametrize("per_inch", [72, 300, 600])
def test_a_printers_resolution_is_no_mpp(tmp_path, per_inch):
    path = tmp_path / "a.tif"
    resolution = {"resolution": (per_inch, per_inch), "resolutionunit": 2}
    tifffile.imwrite(path, glass(128, 64), tile=(64, 64), photometric="rgb", **resolution)
    with pytest.raises(
        WorkError, match=r"^no mpp: the file says .* um per pixel; give the true one in the slide table$"
    ):
        Slide(path)
    with Slide(path, mpp=0.5) as slide:
        assert slide.mpp_source == "table"


def test_rectangles_are_in_pixels_of_their_level(tmp_path):
    pixels = ramp(512, 384)
    with Slide(write_slide(tmp_path / "a.svs", pixels, downsamples=(4,))) as slide:
        np.testing.assert_array_equal(slide.read(0, 100, 37, 90, 70), pixels[37:107, 100:190])
        quarter = pixels.reshape(96, 4, 128, 4, 3).mean(axis=(1, 3)).round()
        np.testing.assert_array_equal(slide.read(1, 30, 11, 50, 40), quarter[11:51, 30:80])


def test_outside_is_white(tmp_path):
    with Slide(write_slide(tmp_path / "a.svs", tissue(128, 128))) as slide:
        read = slide.read(0, 100, -20, 60, 60)
    assert (read[:20] == 255).all()
    assert (read[:, 28:] == 255).all()
    assert (read[20:, :28] < 255).any()


def test_a_thumbnail_is_the_mean_of_what_it_covers(tmp_path, monkeypatch):
    pixels = ramp(640, 320)
    path = write_slide(tmp_path / "a.svs", pixels, downsamples=())
    with Slide(path) as slide:
        whole = slide.thumbnail(64)
        assert slide.thumbnail(10_000).shape == (320, 640, 3)
    np.testing.assert_allclose(whole, pixels.reshape(32, 10, 64, 10, 3).mean(axis=(1, 3)), atol=0.51)
    monkeypatch.setattr("raysweep.slides.slide._STRIP_PIXELS", 640 * 50)
    with Slide(path) as slide:
        np.testing.assert_array_equal(slide.thumbnail(64), whole)  # strip by strip


def test_a_thumbnail_reads_no_more_than_a_strip_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("raysweep.slides.slide._STRIP_PIXELS", 10_000)
    seen = []
    with Slide(write_slide(tmp_path / "a.svs", slide_with_tissue(500, 400, (0, 0, 100, 100)))) as slide:
        crops = slide.crops
        areas = lambda boxes: ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).tolist()  # noqa: E731
        monkeypatch.setattr(slide, "crops", lambda level, boxes: seen.extend(areas(boxes)) or crops(level, boxes))
        slide.thumbnail(400)
    assert max(seen) <= 10_000
    assert sum(seen) == 500 * 400


def test_files_that_are_no_slides(tmp_path):
    with pytest.raises(WorkError, match="no such file"):
        Slide(tmp_path / "absent.svs")
    text = tmp_path / "text.svs"
    text.write_text("slide,path\n")
    with pytest.raises(WorkError, match="not a slide"):
        Slide(text)


def test_damaged_pixels(tmp_path):
    path = write_slide(tmp_path / "a.svs", tissue(256, 256), compression="jpeg", downsamples=())
    with tifffile.TiffFile(path) as tiff:
        start, size = tiff.pages[0].dataoffsets[5], tiff.pages[0].databytecounts[5]
    data = bytearray(path.read_bytes())
    data[start : start + size] = bytes(size)
    path.write_bytes(data)
    with Slide(path) as slide:
        slide.read(0, 0, 0, 64, 64)
        with pytest.raises(WorkError, match="pixels cannot be read at level 0, x 64, y 64"):
            slide.read(0, 64, 64, 64, 64)
    with Slide(path, reader="openslide") as slide, pytest.raises(WorkError, match="pixels cannot be read at level 0"):
        slide.read(0, 64, 64, 64, 64)


def test_a_bomb_is_refused(tmp_path):
    """A file of a few bytes that claims more pixels than any slide has."""
    path = write_slide(tmp_path / "a.svs", tissue(64, 64), downsamples=())
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for tag in ("ImageWidth", "ImageLength"):
            tiff.pages[0].tags[tag].overwrite(2**30)
    with pytest.raises(WorkError, match=r"^damaged: it names 1 of the 281474976710656 tiles of level 0$"):
        Slide(path)


def test_real_slides(test_data):
    wsi = test_data / "wsi"
    with Slide(wsi / "CMU-1-Small-Region.svs") as slide:
        assert slide.size == (2220, 2967)
        assert slide.mpp == pytest.approx(0.499)
    with pytest.raises(WorkError, match="no mpp"):
        Slide(wsi / "TCGA-CR-7395-01A-01-TS1.svs")
    with Slide(wsi / "test3-DAPI.ndpi") as slide:
        assert slide.mpp == pytest.approx(0.2282, abs=1e-4)
        assert len(slide.downsamples) == 7
