"""The picture of what was taken."""

import numpy as np
import pytest

from raysweep.patches.codec import decode
from raysweep.slides.overlay import draw_survey
from raysweep.slides.sidecars import Sidecars
from raysweep.slides.slide import Slide
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.survey import survey
from raysweep.slides.table.entries import SlideEntry, read_slides
from raysweep.storage import Storage

from .making import make
from .slidemaker import slide_with_tissue, write_slide


def surveyed(path, um: float = 32, px: int = 64, **keys) -> np.ndarray:
    with Slide(path) as slide, Sidecars.of(SlideEntry("a", str(path)), 0) as sidecars:
        found = survey(slide, sidecars, PatchSetSpec(slides="x", um=um, px=px, **keys), (), 0, cut_mpx=64)
    return decode(draw_survey(found)).astype(int)


def blue(picture: np.ndarray) -> np.ndarray:
    return picture[..., 2] - picture[..., :2].max(axis=2) > 40


def yellow(picture: np.ndarray) -> np.ndarray:
    return picture[..., :2].min(axis=2) - picture[..., 2] > 90


def test_places_to_be_read_and_the_outline_of_tissue_are_drawn(tmp_path):
    path = write_slide(tmp_path / "a.svs", slide_with_tissue(512, 384, (128, 128, 256, 256)))
    picture = surveyed(path)
    assert picture.shape == (384, 512, 3)
    seen = yellow(picture)
    assert seen[125:260, 190:195].any(axis=1).mean() > 0.9  # the edge that the two columns of patches share
    assert not seen[:, :120].any()
    assert not seen[280:].any()
    bare = surveyed(path, per_slide=1)
    assert 0 < yellow(bare).sum() < seen.sum()
    green = (bare[..., 1] - bare[..., 0]) > 60
    rows, columns = np.nonzero(green)
    assert abs(rows.min() - 128) <= 8
    assert abs(columns.max() - 255) <= 8


def test_it_is_small_whatever_the_slide(tmp_path):
    path = write_slide(tmp_path / "a.svs", slide_with_tissue(2100, 1400, (300, 300, 800, 800)))
    assert surveyed(path, um=8, px=16).shape == (683, 1024, 3)


@pytest.mark.usefixtures("ray_session")
def test_what_was_kept_is_told_from_what_was_rejected(tmp_path):
    """2 x 2 patches of tissue, of which those on the right are dark, and slides that are not tiled."""
    pixels = slide_with_tissue(512, 384, (128, 128, 256, 256))
    pixels[128:256, 192:256] //= 5
    write_slide(tmp_path / "a.svs", pixels)
    write_slide(tmp_path / "coarse.svs", pixels, mpp=4)
    write_slide(tmp_path / "small.svs", pixels[100:160, 100:200])
    spec = PatchSetSpec(slides="*.svs", um=32, px=64)
    made = make(spec, read_slides(spec, tmp_path), Storage.open(tmp_path / "out"))
    pictures = {row["slide"]: decode(made.artefact.folder.read_bytes(row["overlay"])) for row in made.table.to_pylist()}
    assert sorted((row["x"], row["y"]) for row in made.rows.to_pylist()) == [(128, 128), (128, 192)]
    assert made.row("a")["dropped"] == "2 dark"
    kept, rejected = blue(pictures["a"].astype(int)), yellow(pictures["a"].astype(int))
    for column, seen, unseen in ((128, kept, rejected), (192, kept, rejected), (256, rejected, kept)):
        assert seen[130:254, column].mean() > 0.9
        assert not unseen[130:254, column].any()
    assert not kept[:, 200:].any()
    assert made.row("coarse")["reason"].startswith("too coarse")
    assert np.abs(pictures["coarse"].astype(int) - pixels).mean() < 5
    assert made.row("small")["reason"] == "smaller than one patch"
    assert pictures["small"].shape == (60, 100, 3)
