"""Sizes in um, on pixels of any shape."""

import numpy as np
import pytest

from raysweep.slides.tissue.morphology import close_gaps, drop_small, fill_holes, grow, keep_wide


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
