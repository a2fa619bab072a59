"""Which patches a slide gives, and in which regions they are read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysweep.randomness import stable_hash
from raysweep.slides.grid import lay_grid
from raysweep.slides.slide import Slide
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.survey import Cells, blocks, cut_regions, survey

from .slidemaker import glass, slide_with_tissue, tissue, write_slide


def spec(**keys) -> PatchSetSpec:
    return PatchSetSpec(**{"slides": "*.svs", "um": 32, "px": 64, **keys})


def look(path, seed: int = 0, name: str = "a", **keys):
    with Slide(path) as slide:
        return survey(slide, name, spec(**keys), seed)


def places(found) -> set[tuple[int, int]]:
    return {(c, r) for cells in found.regions for c, r in zip(cells.columns.tolist(), cells.rows.tolist(), strict=True)}


@pytest.fixture(scope="module")
def boxed(tmp_path_factory):
    """Tissue from (96, 64) to (320, 256): at 0.5 um per pixel, cells of 64 px."""
    pixels = slide_with_tissue(512, 384, (96, 64, 320, 256))
    return write_slide(tmp_path_factory.mktemp("slides") / "a.svs", pixels)


def test_patches_are_kept_by_their_tissue(boxed):
    inner = {(c, r) for c in (2, 3, 4) for r in (1, 2, 3)}
    assert places(look(boxed, min_tissue=0.9)) == inner
    half = look(boxed, min_tissue=0.4)
    assert places(half) == inner | {(1, r) for r in (1, 2, 3)}  # columns at x = 64: half glass
    assert half.n_tissue == 12
    tissues = {round(float(t), 1) for cells in half.regions for t in cells.tissue}
    assert tissues == {0.5, 1.0}
    assert half.tissue_area_um2 == pytest.approx(224 * 192 * 0.25, rel=0.02)
    assert len(places(look(boxed, min_tissue=0))) == 8 * 6


def test_every_patch_counts_when_tissue_is_all(boxed, tmp_path):
    assert len(places(look(boxed, tissue="all"))) == 8 * 6
    assert len(places(look(write_slide(tmp_path / "g.svs", glass(128, 128)), tissue="all"))) == 4


def test_slides_that_give_nothing_say_why(boxed, tmp_path):
    bare = look(write_slide(tmp_path / "g.svs", glass(256, 256)))
    assert (bare.reason, bare.regions, bare.n_tissue) == ("no tissue", [], 0)
    assert look(boxed, um=500, px=64).reason == "smaller than one patch"
    coarse = look(boxed, um=16, px=64)
    assert coarse.reason == "too coarse: the slide has 0.5 um per pixel and the patches need 0.25, " \
        "2 times enlarged (at most 1.05)"  # fmt: skip
    assert not coarse.regions


def test_the_cap_takes_the_lowest_hashes(boxed):
    everything = look(boxed, min_tissue=0.4)
    capped = look(boxed, min_tissue=0.4, per_slide=5, seed=3)
    hashes = sorted((stable_hash(3, "cap", "a", c * 64, r * 64), c, r) for c, r in places(everything))
    assert places(capped) == {(c, r) for _, c, r in hashes[:5]}
    assert capped.n_tissue == 12
    assert places(look(boxed, min_tissue=0.4, per_slide=5, seed=4)) != places(capped)
    assert places(look(boxed, min_tissue=0.4, per_slide=5, seed=3, name="b")) != places(capped)
    assert places(look(boxed, min_tissue=0.4, per_slide=12)) == places(everything)


def test_a_larger_cap_keeps_what_a_smaller_one_has(boxed):
    few, more = (places(look(boxed, min_tissue=0.4, per_slide=n)) for n in (4, 9))
    assert few < more


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.05, 1), st.sampled_from([16, 100, 700, 3000]), st.data())
def test_regions_hold_every_cell_once_and_are_bounded(columns, rows, dense, px, data):
    grid = lay_grid(spec(um=px, px=px), (0.5, 0.5), [(columns * 2 * px, rows * 2 * px)], [1.0])
    keep = np.random.default_rng(data.draw(st.integers(0, 99))).random((rows, columns)) < dense
    r, c = np.nonzero(keep)
    if len(r) == 0:
        return
    regions = cut_regions(Cells(c, r, np.ones(len(r), np.float32)), grid, px)
    together = [pair for cells in regions for pair in zip(cells.columns.tolist(), cells.rows.tolist(), strict=True)]
    assert sorted(together) == sorted(zip(c.tolist(), r.tolist(), strict=True))
    for cells in regions:
        assert 0 < len(cells) <= 256
        assert len(cells) == 1 or len(cells) * px**2 <= 2**26
        for block in blocks(cells, grid):
            height, width = np.ptp(cells.rows[block]) + 1, np.ptp(cells.columns[block]) + 1
            assert max(height, width) == 1 or max(height, width) * 2 * px <= 1024


def test_a_large_slide_is_cut_into_many_regions(tmp_path):
    found = look(write_slide(tmp_path / "big.svs", tissue(1024, 1024)), um=16, px=32)
    assert len(places(found)) == 32 * 32
    assert [len(cells) for cells in found.regions] == [256] * 4


def test_the_thumbnail_is_bounded(tmp_path, monkeypatch):
    path = write_slide(tmp_path / "a.svs", tissue(1024, 512))
    monkeypatch.setattr("raysweep.slides.survey._THUMBNAIL_PX", (64, 128))
    assert look(path, um=8, px=16).thumbnail.shape == (64, 128, 3)
    assert look(path, um=128, px=256).thumbnail.shape == (32, 64, 3)
