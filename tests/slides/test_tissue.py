"""Finding tissue on thumbnails and measuring it in cells."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.filters import threshold_otsu

from raysweep.slides.tissue import otsu, tissue_fractions, tissue_mask

from .slidemaker import glass, slide_with_tissue, tissue


def test_a_thumbnail_of_tissue_only_is_all_tissue():
    assert tissue_mask(tissue(200, 100)).all()


def test_a_thumbnail_of_glass_only_has_none():
    noisy = glass(200, 100).astype(int) + np.random.default_rng(0).integers(-2, 3, (100, 200, 3))
    assert not tissue_mask(noisy.astype(np.uint8)).any()


def test_the_mask_is_where_the_tissue_is():
    mask = tissue_mask(slide_with_tissue(200, 100, (40, 20, 160, 90)))
    expected = np.zeros((100, 200), bool)
    expected[20:90, 40:160] = True
    np.testing.assert_array_equal(mask, expected)


def test_faint_stain_on_tinted_glass_is_told_apart_by_otsu():
    picture = np.full((100, 200, 3), (240, 232, 226), np.uint8)  # saturation 0.058: above the lower bound
    picture[:50] = (225, 200, 190)  # 0.156: below the upper bound
    mask = tissue_mask(picture)
    assert mask[:50].all()
    assert not mask[50:].any()


def test_black_padding_and_a_dark_background_are_not_tissue():
    picture = tissue(200, 100)
    picture[:, 100:] = (0, 0, 12)  # fully saturated, but nearly black
    mask = tissue_mask(picture)
    assert mask[:, :100].all()
    assert not mask[:, 100:].any()
    assert not tissue_mask(np.zeros((10, 10, 3), np.uint8)).any()


@given(st.lists(st.integers(0, 255), min_size=2, max_size=200).filter(lambda values: len(set(values)) > 1))
def test_otsu_equals_the_textbook(values):
    data = np.array(values, np.uint8)
    ours = otsu(np.bincount(data, minlength=256))
    theirs = threshold_otsu(data)
    assert set(data[data <= ours]) == set(data[data <= theirs])


def test_fractions_are_exact_where_edges_fall_on_pixels():
    mask = np.zeros((6, 8), bool)
    mask[1:4, 2:7] = True
    found = tissue_fractions(mask, np.array([0.0, 4.0, 8.0]), np.array([0.0, 3.0, 6.0]))
    np.testing.assert_allclose(found, [[4 / 12, 6 / 12], [2 / 12, 3 / 12]])


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.05, 7.0), st.integers(0, 2**32 - 1))
def test_fractions_lie_in_range_and_reach_one_on_full_masks(width, height, step, seed):
    columns, rows = max(1, int(width / step)), max(1, int(height / step))
    edges = np.minimum(np.arange(columns + 1) * step, width), np.minimum(np.arange(rows + 1) * step, height)
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    found = tissue_fractions(mask, *edges)
    assert found.shape == (rows, columns)
    assert ((found >= 0) & (found <= 1)).all()
    assert (tissue_fractions(np.ones_like(mask), *edges) == 1).all()
    assert (tissue_fractions(np.zeros_like(mask), *edges) == 0).all()


def test_real_slides(test_data):
    from raysweep.slides.slide import Slide

    with Slide(test_data / "wsi" / "CMU-1-Small-Region.svs") as slide:
        assert 0.25 < tissue_mask(slide.thumbnail(600)).mean() < 0.6
    with Slide(test_data / "wsi" / "TCGA-CR-7395-01A-01-TS1.svs", 0.5) as slide:
        assert 0.5 < tissue_mask(slide.thumbnail(600)).mean() < 0.8
    with Slide(test_data / "wsi" / "test3-DAPI.ndpi") as slide:  # only the bright nuclei: no stain, nothing else shows
        assert tissue_mask(slide.thumbnail(600)).mean() == pytest.approx(0.25, abs=0.15)
