"""How much of each patch an area covers."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from raysweep.slides.labels.pieces import covered

from .makers import grid_of


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
