"""Small pieces of large areas."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.slides.labels.pieces import pieces


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
