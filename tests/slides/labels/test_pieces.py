"""Small pieces of large areas."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.slides.labels.pieces import covered, pieces

from .makers import grid_of


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(3, 1500), st.booleans())
def test_pieces_are_the_whole(seed, n, on_a_raster):
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    corners = rng.uniform(100, 500, n)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    outline = shapely.Polygon(np.round(corners / 8) * 8 if on_a_raster else corners)  # edges on the cuts
    area = shapely.difference(
        shapely.make_valid(outline, method="structure", keep_collapsed=False), shapely.Point(20, 30).buffer(60)
    )
    found = pieces(area)
    assert shapely.is_valid(found).all()
    assert (shapely.get_num_coordinates(found) <= 256).all()
    assert shapely.area(found).sum() == pytest.approx(area.area)
    assert shapely.symmetric_difference(shapely.union_all(found), area).area < 1e-6 * max(area.area, 1)


def test_nothing_has_no_pieces():
    assert len(pieces(shapely.Polygon())) == 0


@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.sampled_from([0.5, 1.0, 1.7]))
def test_the_same_as_one_by_one(seed, n, stride):
    rng = np.random.default_rng(seed)
    parts = [shapely.Point(rng.uniform(0, 800, 2)).buffer(rng.uniform(1, 150)) for _ in range(rng.integers(1, 12))]
    area = shapely.union_all(parts)
    rects = grid_of((800, 700), 40, stride).all().rects((1.0, 1.0))
    rects = rects[rng.permutation(len(rects))[:n]]
    boxes = shapely.box(*rects.T)
    expected = shapely.area(shapely.intersection(area, boxes)) / shapely.area(boxes)
    np.testing.assert_allclose(covered(area, rects), expected, atol=1e-9)


def test_edges():
    rects = np.array([[0.0, 0, 10, 10], [10, 0, 20, 10], [20, 0, 30, 10], [30, 0, 40, 10]])
    np.testing.assert_array_equal(covered(shapely.box(5, 0, 30, 10), rects), [0.5, 1, 1, 0])
    assert covered(shapely.box(0, 0, 1, 1), np.empty((0, 4))).shape == (0,)
    np.testing.assert_array_equal(covered(shapely.Polygon(), rects), np.zeros(4))


def test_parts_of_a_patch_add_up():
    rects = grid_of((1000, 1000), 10).all().rects((1.0, 1.0))
    area = shapely.Point(500, 500).buffer(333)
    assert covered(area, rects).sum() * 100 == pytest.approx(area.area)
