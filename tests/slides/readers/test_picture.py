"""Plain pictures as slides."""

import numpy as np
import pytest
import tifffile
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


def write_pages(path, *sizes):
    with tifffile.TiffWriter(path) as tiff:
        for number, size in enumerate(sizes):
            tiff.write(tissue(*size, seed=number), photometric="rgb", metadata=None)
    return path


@pytest.mark.parametrize(
    "others", [(), [(500, 300)], [(500, 300), (250, 150), (125, 75)], [(333, 200), (100, 100)], [(190, 190)]]
)
def test_a_picture_with_smaller_ones_of_it_in_the_same_file(tmp_path, others):
    with Slide(write_pages(tmp_path / "a.tif", (1000, 600), *others), mpp=0.5) as slide:
        assert (slide.reader.name, slide.level_sizes) == ("picture", [(1000, 600)])
        np.testing.assert_array_equal(slide.read(0, 0, 0, 1000, 600), tissue(1000, 600))


@pytest.mark.parametrize(
    "sizes",
    [
        [(600, 400), (600, 400)],  # a stack
        [(600, 400), (300, 300)],  # another picture
        [(600, 400), (150, 100), (500, 200)],
    ],
)
@pytest.mark.parametrize("reader", ["auto", "openslide"])
def test_a_file_of_several_pictures_is_refused(tmp_path, sizes, reader):
    with pytest.raises(WorkError, match=r"^a TIFF of (\d|several) images.* which of them is the slide is not"):
        Slide(write_pages(tmp_path / "a.tif", *sizes), 0.5, reader)


def test_what_looks_like_a_picture_inside_a_slide_is_none(tmp_path):
    """OpenSlide cannot read these, and the first picture in them is a thumbnail, or a slide without its pyramid."""
    Image.fromarray(tissue(64, 64)).save(tmp_path / "a.jpg")
    for name in ("a.mrxs", "a.svs", "a.ndpi", "a", "a.vms"):
        (tmp_path / name).write_bytes((tmp_path / "a.jpg").read_bytes())
        with pytest.raises(WorkError, match=r"^the folder a that belongs|^not a slide or picture that can be read"):
            Slide(tmp_path / name, mpp=0.5)
    (tmp_path / "A.JPEG").write_bytes((tmp_path / "a.jpg").read_bytes())
    with Slide(tmp_path / "A.JPEG", mpp=0.5) as slide:
        assert slide.reader.name == "picture"


def test_a_picture_cut_off_is_not_its_own_thumbnail(tmp_path):
    path = write_pages(tmp_path / "a.tif", (640, 480), (160, 120))
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages[1].offset
    path.write_bytes(path.read_bytes()[:start])
    with pytest.raises(WorkError, match=rf"^truncated: page 1 should begin at byte {start} of"):
        Slide(path, mpp=0.5)
