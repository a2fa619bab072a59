"""The geometry: exact mpp, no drift, full cover, nothing twice."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from raysweep.slides.grid import Grid, TooCoarse, lay_grid
from raysweep.slides.spec import PatchSetSpec

mpps = st.floats(0.1, 2.0)


def spec(um: float, px: int, max_upsample: float = 1.05) -> PatchSetSpec:
    return PatchSetSpec(slides="*.svs", um=um, px=px, max_upsample=max_upsample)


@st.composite
def grids(draw) -> tuple[Grid, PatchSetSpec, tuple[float, float], list[tuple[int, int]]]:
    mpp = draw(mpps)
    mpp_xy = draw(st.sampled_from([(mpp, mpp), (mpp, mpp * 1.2)]))
    px = draw(st.integers(8, 256))
    wanted = spec(px * draw(st.floats(mpp, 8 * mpp)), px, max_upsample=2)
    width, height = draw(st.integers(1, 60_000)), draw(st.integers(1, 60_000))
    downs = [1.0, draw(st.floats(1.9, 2.1)), draw(st.floats(3.9, 4.1))]
    sizes = [(int(width / down), int(height / down)) for down in downs]
    return lay_grid(wanted, mpp_xy, sizes, downs), wanted, mpp_xy, sizes


@given(grids())
def test_every_edge_is_within_half_a_pixel_of_its_exact_place(made):
    grid, wanted, mpp_xy, _ = made
    for axis, count in enumerate((grid.columns, grid.rows)):
        for index in {0, 1, count // 2, count - 1} - {-1}:
            cell = [index, 0] if axis == 0 else [0, index]
            exact = index * wanted.um / mpp_xy[axis]
            assert abs(grid.origin(*cell)[axis] - exact) <= 0.5 + 1e-6
            assert abs(grid.box(*cell)[axis] - exact / grid.downsample) <= 0.5 + 1e-6


@given(grids())
def test_cells_share_edges_and_lie_inside_the_slide(made):
    grid, _, _, sizes = made
    assume(grid.columns > 1 and grid.rows > 1)
    for column in range(min(grid.columns - 1, 50)):
        left, right = grid.box(column, 0), grid.box(column + 1, 0)
        assert left[0] < left[2] == right[0]
    for row in range(min(grid.rows - 1, 50)):
        assert grid.box(0, row)[3] == grid.box(0, row + 1)[1]
    last = grid.box(grid.columns - 1, grid.rows - 1)
    assert last[2] <= sizes[grid.level][0]
    assert last[3] <= sizes[grid.level][1]


@given(grids())
def test_no_further_cell_would_fit(made):
    grid, _, _, sizes = made
    beyond = grid.origin(grid.columns + 1, grid.rows + 1)
    box = grid.box(grid.columns, grid.rows)
    assert beyond[0] > sizes[0][0] or box[2] > sizes[grid.level][0]
    assert beyond[1] > sizes[0][1] or box[3] > sizes[grid.level][1]


def test_cells_cover_a_slide_without_overlap():
    grid = lay_grid(spec(um=7.3, px=8), (0.5, 0.5), [(200, 150)], [1.0])
    painted = np.zeros((150, 200), int)
    for row in range(grid.rows):
        for column in range(grid.columns):
            left, top, right, bottom = grid.box(column, row)
            painted[top:bottom, left:right] += 1
    right, bottom = grid.box(grid.columns - 1, grid.rows - 1)[2:]
    assert (painted[:bottom, :right] == 1).all()
    assert painted.sum() == right * bottom
    assert 200 - right < 15 > 150 - bottom


def test_many_cells_do_not_drift():
    grid = lay_grid(spec(um=112, px=224), (0.2527, 0.2527), [(200_000, 1000)], [1.0])
    column = grid.columns - 1
    assert column > 400
    assert grid.origin(column, 0)[0] == round(column * 112 / 0.2527)  # adding 443 each time would be off by 89


@pytest.mark.parametrize(
    ("patch_mpp", "level", "factor"),
    [(0.25, 0, 1.0), (0.4, 0, 1.6), (0.9999, 2, 0.9999), (1.0, 2, 1.0), (3.9, 2, 3.9), (4.0, 3, 1.0), (64.0, 3, 16.0)],
)
def test_pixels_come_from_the_nearest_finer_level(patch_mpp, level, factor):
    downs = [1.0, 2.0, 4.0, 16.0]
    sizes = [(int(100_000 / down), int(100_000 / down)) for down in downs]
    grid = lay_grid(spec(um=patch_mpp * 64, px=64), (0.25, 0.25), sizes, downs)
    assert (grid.level, grid.downsample) == (level, downs[level])
    assert grid.factor == pytest.approx(factor)


def test_the_coarser_axis_decides():
    sizes, downs = [(4000, 4000), (2000, 2000)], [1.0, 2.0]
    assert lay_grid(spec(um=64, px=64), (0.5, 0.5), sizes, downs).level == 1
    grid = lay_grid(spec(um=64, px=64), (0.4, 0.6), sizes, downs)
    assert grid.level == 0
    assert grid.step == (pytest.approx(160), pytest.approx(64 / 0.6))


def test_a_little_enlarging_is_allowed_and_more_is_refused():
    sizes, downs = [(1000, 1000)], [1.0]
    assert lay_grid(spec(64, 64, max_upsample=1.05), (1.05, 1.05), sizes, downs).factor == pytest.approx(1 / 1.05)
    with pytest.raises(TooCoarse, match=r"too coarse: the slide has 1\.06 um per pixel and the patches need 1"):
        lay_grid(spec(64, 64, max_upsample=1.05), (1.06, 1.06), sizes, downs)


def test_a_slide_smaller_than_a_patch_has_no_cell():
    grid = lay_grid(spec(64, 64), (1.0, 1.0), [(63, 200)], [1.0])
    assert grid.columns == 0
