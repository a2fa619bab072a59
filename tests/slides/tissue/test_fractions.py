"""How much of a rectangle is covered."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from raysweep.slides.tissue.fractions import fractions


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
