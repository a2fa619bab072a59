"""Areas as pixels: exactly those with their centre inside."""

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import LineString, Point, Polygon, box

from raysweep.slides.annotations.rasterize import rasterize

scales = st.floats(0.3, 5.0)


def test_a_box_on_pixel_edges_fills_these_pixels():
    found = rasterize([box(8, 4, 20, 12)], (5, 8), (4.0, 2.0))
    expected = np.zeros((5, 8), bool)
    expected[2:6, 2:5] = True
    np.testing.assert_array_equal(found, expected)


def test_holes_stay_open_and_overlaps_stay_filled():
    ring = Polygon(box(0, 0, 10, 10).exterior, [box(3, 3, 7, 7).exterior])
    assert rasterize([ring], (10, 10), (1, 1)).sum() == 100 - 16
    assert rasterize([ring, box(2, 2, 6, 6)], (10, 10), (1, 1)).sum() == 100 - 16 + 9


def test_what_has_no_area_covers_nothing():
    assert not rasterize([LineString([(0, 0), (9, 9)]), Point(3, 3), Polygon()], (10, 10), (1, 1)).any()
    assert not rasterize([], (10, 10), (1, 1)).any()
    assert not rasterize([box(20, 20, 30, 30), box(-9, -9, -1, 30)], (10, 10), (1, 1)).any()


def test_neighbours_share_no_pixel_and_leave_none():
    first, second = Polygon([(0, 0), (7.3, 0), (2.9, 10), (0, 10)]), Polygon([(7.3, 0), (10, 0), (10, 10), (2.9, 10)])
    a, b = (rasterize([half], (20, 20), (0.5, 0.5)) for half in (first, second))
    assert (a ^ b).all()


@given(st.integers(0, 2**32 - 1), scales, scales, st.floats(-20, 20), st.floats(-20, 20))
def test_a_pixel_is_inside_when_its_centre_is(seed, x_scale, y_scale, x, y):
    rng = np.random.default_rng(seed)
    scribble = Polygon(rng.uniform(-20, 60, (rng.integers(3, 12), 2)))
    area = shapely.make_valid(scribble, method="structure", keep_collapsed=False)
    height, width = rng.integers(1, 30, 2)
    found = rasterize([area], (height, width), (x_scale, y_scale), (x, y))
    rows, columns = np.mgrid[:height, :width]
    centers = x + (columns + 0.5) * x_scale, y + (rows + 0.5) * y_scale
    near = shapely.distance(shapely.boundary(area), shapely.points(*centers)) < 1e-9
    expected = shapely.contains_xy(area, *centers)
    np.testing.assert_array_equal(found[~near], expected[~near])
