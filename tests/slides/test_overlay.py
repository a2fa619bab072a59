"""The picture of what was taken."""

import numpy as np

from raysweep.patches.decode import decode
from raysweep.slides.overlay import draw_overlay
from raysweep.slides.sidecars import Sidecars
from raysweep.slides.slide import Slide
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.survey import survey
from raysweep.slides.table import SlideEntry

from .slidemaker import slide_with_tissue, write_slide


def overlay(path, um: float = 32, px: int = 64, **keys) -> np.ndarray:
    with Slide(path) as slide, Sidecars.of(SlideEntry("a", str(path)), 0) as sidecars:
        found = survey(slide, sidecars, PatchSetSpec(slides="x", um=um, px=px, **keys), (), 0, region_mpx=64)
    return decode(draw_overlay(found)).astype(int)


def blue(picture: np.ndarray) -> np.ndarray:
    return (picture[..., 2] - picture[..., 0]) > 90


def test_kept_patches_and_the_outline_of_tissue_are_drawn(tmp_path):
    path = write_slide(tmp_path / "a.svs", slide_with_tissue(512, 384, (128, 128, 256, 256)))
    picture = overlay(path)
    assert picture.shape == (384, 512, 3)
    seen = blue(picture)
    assert seen[125:260, 190:195].any(axis=1).mean() > 0.9  # the edge that the two columns of patches share
    assert not seen[:, :120].any()
    assert not seen[280:].any()
    bare = overlay(path, per_slide=1)
    assert 0 < blue(bare).sum() < seen.sum()
    green = (bare[..., 1] - bare[..., 0]) > 60
    rows, columns = np.nonzero(green)
    assert abs(rows.min() - 128) <= 8
    assert abs(columns.max() - 255) <= 8


def test_it_is_small_whatever_the_slide(tmp_path):
    path = write_slide(tmp_path / "a.svs", slide_with_tissue(2100, 1400, (300, 300, 800, 800)))
    assert overlay(path, um=8, px=16).shape == (683, 1024, 3)
