"""Sizes in um, on pixels of any shape."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysweep.slides.tissue.morphology import close_gaps, drop_small, fill_holes, fractions, grow, keep_wide


def _box():
    mask = np.zeros((20, 30), bool)
    mask[5:10, 8:16] = True
    return mask


def test_regions_are_dropped_by_area():
    box = _box()  # 5 x 8 pixels
    box[0, 0] = True
    assert drop_small(box, (2.0, 3.0), 240).sum() == 40
    assert not drop_small(box, (2.0, 3.0), 241).any()
    np.testing.assert_array_equal(drop_small(box, (2.0, 3.0), 0), box)


def test_pixels_that_touch_at_a_corner_are_one_region():
    assert drop_small(np.eye(6, dtype=bool), (1.0, 1.0), 6).sum() == 6


def test_holes_are_filled_by_area_unless_they_reach_the_border():
    mask = ~_box()  # a hole of 40 pixels
    mask[0, :5] = False  # open to the border
    filled = fill_holes(mask, (2.0, 3.0), 240)
    assert filled[5:10, 8:16].all()
    assert not filled[0, :5].any()
    np.testing.assert_array_equal(fill_holes(mask, (2.0, 3.0), 239), mask)
    assert not fill_holes(np.zeros((4, 4), bool), (1.0, 1.0), 1e9).any()


@pytest.mark.parametrize(("x", "y"), [(1.0, 1.0), (2.0, 1.0)])
def test_growing_and_closing_count_um_along_each_axis(x, y):
    dot = np.zeros((21, 21), bool)
    dot[10, 10] = True
    rows, columns = np.nonzero(grow(dot, (x, y), 4.0))
    assert (np.ptp(columns) * x, np.ptp(rows) * y) == (8.0, 8.0)
    bars = np.zeros((21, 21), bool)
    bars[:, [2, 6]] = True
    closed = close_gaps(bars, (x, y), 4.0 * x)
    assert closed[8:-8, 2:7].all()  # it rounds off at the ends
    assert not closed[:, 7:].any()
    np.testing.assert_array_equal(close_gaps(bars, (x, y), 1.0), bars)


def test_only_what_has_room_for_the_disc_stays():
    mask = _box()
    mask[7, :] = True  # a line through the box
    wide = keep_wide(mask, (1.0, 1.0), 4.0)
    assert wide[7, 10]
    assert not wide[7, :4].any()
    assert keep_wide(np.ones((6, 6), bool), (1.0, 1.0), 50.0).all()  # it may go on outside
    assert not keep_wide(np.zeros((6, 6), bool), (1.0, 1.0), 4.0).any()


def test_exact_where_edges_fall_on_pixels():
    mask = np.zeros((6, 8), bool)
    mask[1:4, 2:7] = True
    rects = np.array([[0, 0, 4, 3], [4, 0, 8, 3], [0, 3, 4, 6], [4, 3, 8, 6], [2, 1, 7, 4]], float)
    found = fractions(mask, rects)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [4 / 12, 6 / 12, 2 / 12, 3 / 12, 1])


def test_a_rectangle_smaller_than_a_pixel_is_measured_over_the_nearest():
    mask = np.array([[True, False], [False, True]])
    rects = np.array([[0.1, 0.1, 0.2, 0.2], [0.8, 0.1, 0.9, 0.2], [1.7, 1.7, 2.0, 2.0], [9.0, 9.0, 10.0, 10.0]])
    np.testing.assert_array_equal(fractions(mask, rects), [1, 0, 1, 1])


def test_no_rectangles():
    assert fractions(np.ones((3, 3), bool), np.zeros((0, 4))).shape == (0,)


_edge = st.floats(0, 50, allow_nan=False)


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.lists(st.tuples(_edge, _edge, st.floats(0, 30), st.floats(0, 30)), min_size=1, max_size=20),
    st.integers(0, 2**32 - 1),
)
def test_equals_the_mean_over_the_nearest_pixels(width, height, boxes, seed):
    rects = np.array([(x, y, x + w, y + h) for x, y, w, h in boxes])
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    expected = []
    for x0, y0, x1, y1 in np.rint(rects).astype(int):
        x0, y0 = min(x0, width - 1), min(y0, height - 1)
        expected.append(mask[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)].mean())
    np.testing.assert_allclose(fractions(mask, rects), expected, atol=1e-6)
    assert (fractions(np.ones_like(mask), rects) == 1).all()
    assert (fractions(np.zeros_like(mask), rects) == 0).all()
