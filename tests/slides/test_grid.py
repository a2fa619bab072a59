"""The geometry: exact mpp, no drift, full cover, nothing twice."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from raysweep.slides.grid import Grid, TooCoarse, lay_grid
from raysweep.slides.places import Places
from raysweep.slides.spec import PatchSetSpec

mpps = st.floats(0.1, 2.0)


def origin(grid: Grid, column: int, row: int) -> list[int]:
    return grid.places(np.array([column]), np.array([row])).corner[0].tolist()


def box(grid: Grid, column: int, row: int) -> list[int]:
    return grid.places(np.array([column]), np.array([row])).box[0].tolist()


def spec(um: float, px: int, max_upsample: float = 1.05) -> PatchSetSpec:
    return PatchSetSpec(slides="*.svs", um=um, px=px, max_upsample=max_upsample)


def both(*downsamples: float) -> list[tuple[float, float]]:
    return [(down, down) for down in downsamples]


@st.composite
def grids(draw) -> tuple[Grid, PatchSetSpec, tuple[float, float], list[tuple[int, int]]]:
    mpp = draw(mpps)
    mpp_xy = draw(st.sampled_from([(mpp, mpp), (mpp, mpp * 1.2)]))
    px = draw(st.integers(8, 256))
    wanted = spec(px * draw(st.floats(mpp, 8 * mpp)), px, max_upsample=2)
    width, height = draw(st.integers(1, 200_000)), draw(st.integers(1, 200_000))
    downs = [(1.0, 1.0), *((draw(st.floats(d - 0.1, d + 0.1)), draw(st.floats(d - 0.1, d + 0.1))) for d in (2, 4))]
    sizes = [(int(width / x), int(height / y)) for x, y in downs]
    return lay_grid(wanted, mpp_xy, sizes, downs), wanted, mpp_xy, sizes


@given(grids())
def test_every_edge_is_within_half_a_pixel_of_its_exact_place(made):
    grid, wanted, mpp_xy, _ = made
    for axis, count in enumerate((grid.columns, grid.rows)):
        for index in {0, 1, count // 2, count - 1} - {-1}:
            cell = [index, 0] if axis == 0 else [0, index]
            exact = index * wanted.um / mpp_xy[axis]
            assert abs(origin(grid, *cell)[axis] - exact) <= 0.5 + 1e-6
            assert abs(box(grid, *cell)[axis] - exact / grid.downsample[axis]) <= 0.5 + 1e-6


@given(grids())
def test_cells_share_edges_and_lie_inside_the_slide(made):
    grid, _, _, sizes = made
    assume(grid.columns > 1 and grid.rows > 1)
    for column in range(min(grid.columns - 1, 50)):
        left, right = box(grid, column, 0), box(grid, column + 1, 0)
        assert left[0] < left[2] == right[0]
    for row in range(min(grid.rows - 1, 50)):
        assert box(grid, 0, row)[3] == box(grid, 0, row + 1)[1]
    last = box(grid, grid.columns - 1, grid.rows - 1)
    assert last[2] <= sizes[grid.level][0]
    assert last[3] <= sizes[grid.level][1]


@given(grids())
def test_no_further_cell_would_fit(made):
    grid, _, _, sizes = made
    beyond = origin(grid, grid.columns + 1, grid.rows + 1)
    next_box = box(grid, grid.columns, grid.rows)
    assert beyond[0] > sizes[0][0] or next_box[2] > sizes[grid.level][0]
    assert beyond[1] > sizes[0][1] or next_box[3] > sizes[grid.level][1]


def test_cells_cover_a_slide_without_overlap():
    grid = lay_grid(spec(um=7.3, px=8), (0.5, 0.5), [(200, 150)], both(1.0))
    painted = np.zeros((150, 200), int)
    for row in range(grid.rows):
        for column in range(grid.columns):
            left, top, right, bottom = box(grid, column, row)
            painted[top:bottom, left:right] += 1
    right, bottom = box(grid, grid.columns - 1, grid.rows - 1)[2:]
    assert (painted[:bottom, :right] == 1).all()
    assert painted.sum() == right * bottom
    assert 200 - right < 15 > 150 - bottom


def test_many_cells_do_not_drift():
    grid = lay_grid(spec(um=112, px=224), (0.2527, 0.2527), [(200_000, 1000)], both(1.0))
    column = grid.columns - 1
    assert column > 400
    assert origin(grid, column, 0)[0] == round(column * 112 / 0.2527)  # adding 443 each time would be off by 89


@pytest.mark.parametrize(
    ("patch_mpp", "level", "factor"),
    [(0.25, 0, 1.0), (0.4, 0, 1.6), (0.9999, 2, 0.9999), (1.0, 2, 1.0), (3.9, 2, 3.9), (4.0, 3, 1.0), (64.0, 3, 16.0)],
)
def test_pixels_come_from_the_nearest_finer_level(patch_mpp, level, factor):
    downs = both(1.0, 2.0, 4.0, 16.0)
    sizes = [(int(100_000 / down), int(100_000 / down)) for down, _ in downs]
    grid = lay_grid(spec(um=patch_mpp * 64, px=64), (0.25, 0.25), sizes, downs)
    assert (grid.level, grid.downsample) == (level, downs[level])
    assert grid.factor == pytest.approx(factor)


def test_the_coarser_axis_decides():
    sizes, downs = [(4000, 4000), (2000, 2000)], both(1.0, 2.0)
    assert lay_grid(spec(um=64, px=64), (0.5, 0.5), sizes, downs).level == 1
    grid = lay_grid(spec(um=64, px=64), (0.4, 0.6), sizes, downs)
    assert grid.level == 0
    assert grid.step == (pytest.approx(160), pytest.approx(64 / 0.6))


def test_a_little_enlarging_is_allowed_and_more_is_refused():
    sizes, downs = [(1000, 1000)], both(1.0)
    assert lay_grid(spec(64, 64, max_upsample=1.05), (1.05, 1.05), sizes, downs).factor == pytest.approx(1 / 1.05)
    with pytest.raises(TooCoarse, match=r"too coarse: the slide has 1\.06 um per pixel and the patches need 1"):
        lay_grid(spec(64, 64, max_upsample=1.05), (1.06, 1.06), sizes, downs)


def test_a_slide_smaller_than_a_patch_has_no_cell():
    grid = lay_grid(spec(64, 64), (1.0, 1.0), [(63, 200)], both(1.0))
    assert grid.columns == 0


def test_native_scale_takes_the_slides_own_pixels():
    native = PatchSetSpec(slides="*.svs", mpp="native", px=64)
    grid = lay_grid(native, (0.2527, 0.26), [(1000, 700), (500, 350)], both(1.0, 2.0))
    assert (grid.level, grid.factor, grid.edge, grid.columns, grid.rows) == (0, 1.0, (64.0, 64.0), 15, 10)
    assert (np.diff(grid.all().box[:, ::2]) == 64).all()


@given(grids(), st.floats(0.1, 3.0))
def test_a_stride_moves_patches_and_leaves_their_size(made, stride):
    plain, wanted, mpp_xy, sizes = made
    grid = lay_grid(
        wanted.model_copy(update={"stride": stride}),
        mpp_xy,
        sizes,
        both(1.0, plain.size[0] / sizes[1][0] if sizes[1][0] else 2.0, 4.0),
    )
    assert grid.edge == plain.edge
    assert grid.step == (pytest.approx(plain.edge[0] * stride), pytest.approx(plain.edge[1] * stride))
    assume(grid.columns * grid.rows > 0)
    last = grid.places(np.array([grid.columns - 1]), np.array([grid.rows - 1]))
    left, top, right, bottom = last.box[0]
    assert right <= grid.level_size[0]
    assert bottom <= grid.level_size[1]
    assert abs((right - left) - grid.edge[0] / grid.downsample[0]) <= 1
    assert abs((bottom - top) - grid.edge[1] / grid.downsample[1]) <= 1


@given(grids(), st.lists(st.tuples(st.floats(-500, 70_000), st.floats(-500, 70_000)), min_size=1, max_size=20))
def test_squares_anywhere_are_kept_when_they_lie_inside(made, corners):
    grid = made[0]
    x, y = np.array(corners).T
    places, inside = grid.at(x, y)
    assert len(places) == inside.sum()
    for (left, top, right, bottom), (a, b) in zip(places.box, np.array(corners)[inside], strict=True):
        assert 0 <= left < right <= grid.level_size[0]
        assert 0 <= top < bottom <= grid.level_size[1]
        assert abs(left - a / grid.downsample[0]) <= 0.5 + 1e-6
        assert abs(bottom - (b + grid.edge[1]) / grid.downsample[1]) <= 0.5 + 1e-6
    for a, b in np.array(corners)[~inside]:
        ends = (a + grid.edge[0], b + grid.edge[1])
        over = [end + down + 1 >= size * down
                for end, size, down in zip(ends, grid.level_size, grid.downsample, strict=True)]  # fmt: skip
        assert min(a, b) < 1 or any(over) or min(grid.edge) / max(grid.downsample) < 1.5


def test_corners_of_the_grid_given_as_coordinates_are_the_grid():
    grid = lay_grid(spec(um=20.1, px=32), (0.5, 0.5), [(1024, 768), (256, 192)], both(1.0, 4.0))
    every = grid.all()
    again, inside = grid.at(*(np.divmod(np.arange(len(every)), grid.columns)[i] * grid.step[0] for i in (1, 0)))
    assert inside.all()
    assert abs(again.box - every.box).max() <= 0


@pytest.mark.parametrize("most", [1, 7, 60, 10_000])
def test_blocks_together_are_the_grid(most):
    grid = lay_grid(PatchSetSpec(slides="x", um=100, px=100), (0.53, 0.5), [(2000, 1500)], [(1.0, 1.0)])
    blocks = list(grid.blocks(most))
    assert max(map(len, blocks)) <= most
    together, every = Places.join(blocks), grid.all()
    assert len(every) == grid.columns * grid.rows > 60
    np.testing.assert_array_equal(together.box, every.box)
    np.testing.assert_array_equal(together.corner, every.corner)


def test_a_grid_without_squares_has_an_empty_block():
    grid = lay_grid(PatchSetSpec(slides="x", um=100, px=100), (0.5, 0.5), [(99, 150)], [(1.0, 1.0)])
    assert [len(block) for block in grid.blocks(5)] == [0]
    assert len(grid.all()) == 0
