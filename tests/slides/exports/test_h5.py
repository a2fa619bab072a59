"""Places as CLAM and TRIDENT write theirs: what they mean there, and back again."""

import io
import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysweep.errors import WorkError
from raysweep.slides.exports.h5 import clam_bytes, trident_bytes
from raysweep.slides.given_places import read_coordinates
from raysweep.slides.grid import Grid, lay_grid
from raysweep.slides.places import Places
from raysweep.slides.spec import PatchSetSpec

SIZE, DOWNSAMPLES = (16_001, 12_003), ((1.0, 1.0), (4.0, 4.0))
LEVEL_SIZES = (SIZE, (4000, 3000))


def lay(um: float = 224, px: int = 224, mpp: float = 0.25, **keys) -> Grid:
    spec = PatchSetSpec(slides="x.csv", um=um, px=px, max_upsample=4, **keys)
    return lay_grid(spec, (mpp, mpp), LEVEL_SIZES, DOWNSAMPLES)


def opened(data: bytes) -> tuple[np.ndarray, dict]:
    with h5py.File(io.BytesIO(data), "r") as file:
        assert list(file) == ["coords"]
        return file["coords"][:], dict(file["coords"].attrs)


def some(grid: Grid) -> Places:
    return grid.all().pick(np.arange(0, grid.rows * grid.columns, 3))


def test_clam_cuts_the_same_pixels():
    grid = lay()
    corner, attributes = opened(clam_bytes(some(grid), grid, "a"))
    assert (grid.level, attributes["patch_level"], attributes["patch_size"]) == (1, 1, 224)
    assert attributes["downsample"] == pytest.approx(4.0005, abs=0.0006)
    assert attributes["level_dim"].tolist() == attributes["downsampled_level_dim"].tolist() == [4000, 3000]
    assert (attributes["name"], attributes["save_path"]) == ("a", "")
    assert corner.dtype == np.int64
    # CLAM reads patch_size pixels of the level from the level-0 corner on.
    left_top = np.floor(corner / np.array(grid.downsample) + 0.5)
    assert np.abs(left_top - some(grid).box[:, :2]).max() <= 1
    assert np.abs(left_top + 224 - some(grid).box[:, 2:]).max() <= 1


def test_trident_cuts_the_same_pixels():
    grid = lay(mpp=0.2527, stride=0.75)
    corner, attributes = opened(trident_bytes(some(grid), grid, "a", px=224, mpp=0.2527))
    assert np.array_equal(corner, some(grid).corner)
    # TRIDENT reads round(patch_size x level-0 magnification / target magnification) pixels of level 0.
    edge = attributes["patch_size"] * attributes["level0_magnification"] / attributes["target_magnification"]
    assert edge == pytest.approx(224 / 0.2527, rel=1e-12)
    assert attributes["patch_size_level0"] == round(224 / 0.2527)
    assert (attributes["level0_width"], attributes["level0_height"]) == SIZE
    assert (attributes["overlap"], attributes["name"], attributes["savetodir"]) == (56, "a", "")


def test_usual_scales_have_whole_magnifications():
    attributes = opened(trident_bytes(some(lay(um=112)), lay(um=112), "a", px=224, mpp=0.25))[1]
    assert (attributes["level0_magnification"], attributes["target_magnification"]) == (40, 20)
    assert attributes["level0_magnification"].dtype.kind == "i"


@pytest.mark.parametrize("tool", ["clam", "trident"])
@given(um=st.floats(60, 900), mpp=st.floats(0.2, 0.6), stride=st.floats(0.3, 2))
def test_what_is_written_is_read_again(tmp_path_factory, tool, um, mpp, stride):
    grid = lay(um=um, mpp=mpp, stride=stride)
    places = some(grid)
    keys = {} if tool == "clam" else {"px": 224, "mpp": mpp}
    path = tmp_path_factory.getbasetemp() / f"{tool}.h5"
    path.write_bytes((clam_bytes if tool == "clam" else trident_bytes)(places, grid, "a", **keys))
    found = read_coordinates(path, grid, DOWNSAMPLES, mpp)
    assert (found.tool, found.n_repeated) == (tool, 0)
    assert abs(found.edge_level0 - grid.edge[0]) <= 0.5 * max(grid.downsample) + 0.001 * grid.edge[0]
    again, inside = grid.at(*found.corner.T)
    assert inside.all()
    assert np.array_equal(again.corner, places.corner)
    # Corners are whole level-0 pixels in the file: what is read moves by less than one.
    assert np.abs(again.box - places.box).max() <= 1


def test_the_same_bytes_in_another_process():
    grid = lay()
    code = (
        "import sys; from tests.slides.exports.test_h5 import *; g = lay();"
        "sys.stdout.buffer.write(clam_bytes(some(g), g, 'a') + trident_bytes(some(g), g, 'a', px=224, mpp=0.25))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert clam_bytes(some(grid), grid, "a") + trident_bytes(some(grid), grid, "a", px=224, mpp=0.25) == other


def test_patches_that_are_not_squares_of_one_size_are_refused():
    grid = lay()
    tall = replace(grid, edge=(grid.edge[0], grid.edge[1] * 1.02))
    mixed = Places.join([some(grid), grid.at(np.array([0.0]), np.array([0.0]), np.array([50.0]), np.array([50.0]))[0]])
    for places, laid in ((some(grid), tall), (mixed, grid)):
        with pytest.raises(WorkError, match="CLAM hold squares of one size"):
            clam_bytes(places, laid, "a")
        with pytest.raises(WorkError, match="TRIDENT hold squares of one size"):
            trident_bytes(places, laid, "a", px=224, mpp=0.25)


@pytest.mark.parametrize(("um", "mpp", "edge"), [(200, (0.2528, 0.2522), 792), (20, (0.25, 0.2524), 80)])
def test_a_per_cent_between_the_axes_is_nothing_to_either_tool(um, mpp, edge):
    grid = lay_grid(PatchSetSpec(slides="x.csv", um=um, px=80), mpp, (SIZE,), ((1.0, 1.0),))
    places = some(grid)
    sizes = {tuple(size) for size in (places.box[:, 2:] - places.box[:, :2]).tolist()}
    assert any(width != height for width, height in sizes)
    assert opened(clam_bytes(places, grid, "a"))[1]["patch_size"] == edge
    attributes = opened(trident_bytes(places, grid, "a", px=80, mpp=mpp[0]))[1]
    assert attributes["patch_size_level0"] == edge


def test_no_places_make_an_empty_file():
    grid = lay()
    none = grid.all().pick(np.zeros(0, int))
    assert opened(clam_bytes(none, grid, "a"))[0].shape == (0, 2)
