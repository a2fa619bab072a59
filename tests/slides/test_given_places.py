"""Coordinates of CLAM and TRIDENT, and what is wrong with them."""

import re

import h5py
import numpy as np
import pytest

from raysweep.errors import WorkError
from raysweep.slides.given_places import read_coordinates
from raysweep.slides.grid import Grid

SIZE, DOWNSAMPLES = (40_000, 30_000), ((1.0, 1.0), (4.0, 4.0), (16.0, 16.0))
CORNERS = np.array([[0, 0], [512, 1024], [39_999, 29_999]])


def grid(edge: float) -> Grid:
    return Grid((edge, edge), (edge, edge), 0, SIZE, (1.0, 1.0), SIZE, 1.0, 1, 1, 1.0)


# As CLAM's create_patches_fp.py and TRIDENT's extract_tissue_coords name them.
CLAM = {
    "patch_size": 256, "patch_level": 1, "downsample": (4.0, 4.0), "downsampled_level_dim": (10_000, 7_500),
    "level_dim": (10_000, 7_500), "name": "a", "save_path": "x",
}  # fmt: skip
TRIDENT = {
    "patch_size": 256, "patch_size_level0": 512, "level0_magnification": 40, "target_magnification": 20, "overlap": 0,
    "name": "a", "savetodir": "x", "level0_width": 40_000, "level0_height": 30_000,
}  # fmt: skip


@pytest.fixture
def read(tmp_path):
    def write_and_read(attributes, corners=CORNERS, edge=512.0, key="coords", mpp=0.25, **kept):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            coords = file.create_dataset(key, data=corners, **kept)
            for name, value in attributes.items():
                coords.attrs[name] = value
        return read_coordinates(tmp_path / "a.h5", grid(edge), DOWNSAMPLES, mpp)

    return write_and_read


def without(attributes, *names):
    return {name: value for name, value in attributes.items() if name not in names}


def test_clam(read):
    found = read(CLAM, edge=1024, chunks=(1, 2), maxshape=(None, 2))
    assert (found.tool, found.edge_level0, found.n_repeated) == ("clam", 1024, 0)
    assert found.corner.dtype == np.float64
    assert np.array_equal(found.corner, CORNERS)


def test_clam_of_a_level_whose_downsample_is_not_whole(read):
    inexact = {**CLAM, "downsample": (4.0004, 4.0008), "level_dim": (9_999, 7_498)}
    assert read(inexact, edge=1024).edge_level0 == pytest.approx(256 * 4.0006)


@pytest.mark.parametrize(("level", "edge"), [(0, 256), (1, 1024), (2, 4096)])
def test_clam_without_a_downsample_takes_the_slides(read, level, edge):
    assert read({"patch_size": 256, "patch_level": level}, edge=edge).edge_level0 == edge


def test_trident(read):
    found = read(TRIDENT)
    assert (found.tool, found.edge_level0) == ("trident", 512)
    assert np.array_equal(found.corner, CORNERS)


def test_an_old_trident_file_has_no_size_of_the_slide(read):
    assert read(without(TRIDENT, "level0_width", "level0_height", "patch_size_level0")).edge_level0 == 512


@pytest.mark.parametrize("mpp", [0.2005, 0.2267, 0.2527, 0.274, 0.3123])
def test_a_whole_magnification_need_not_be_exact(read, mpp):
    """Patches of 128 um are what TRIDENT's 256 px at 20x say, whatever a pixel of the slide that it calls 40x is."""
    assert read(TRIDENT, edge=128 / mpp, mpp=mpp).edge_level0 == 512
    assert read(TRIDENT, edge=512, mpp=mpp).edge_level0 == 512


@pytest.mark.parametrize(
    ("attributes", "edge", "mpp", "fits"),
    [
        (CLAM, 1024 * 1.04, 0.25, "um: 256 and px: 256"),
        ({**CLAM, "patch_level": 0, "downsample": (1.0, 1.0), "level_dim": SIZE}, 320, 0.5, "um: 128 and px: 256"),
        (TRIDENT, 128 / 0.2 * 1.04, 0.2, "um: 128 and px: 256"),  # 512 px are not what the file means
        (TRIDENT, 600, 0.25, "um: 128 and px: 256"),
        (TRIDENT, 128 / 0.19, 0.19, "um: 97.28 and px: 256"),  # 40x is too far off to be meant
        ({**TRIDENT, "level0_magnification": 39.57}, 128 / 0.2, 0.2, "um: 102.4 and px: 256"),
    ],
)
def test_places_of_another_size_are_refused_and_the_sentence_says_what_fits(read, attributes, edge, mpp, fits):
    with pytest.raises(WorkError, match=f" and patches have {edge:.5g}; write {fits}$"):
        read(attributes, edge=edge, mpp=mpp)
    um, px = map(float, re.findall("[0-9.]+", fits))
    assert read(attributes, edge=um / mpp, mpp=mpp).edge_level0 in (256, 512, 1024)
    assert px == 256


def test_three_per_cent_is_alike(read):
    for factor in (0.975, 1.025):
        assert read(CLAM, edge=1024 * factor).edge_level0 == 1024


def test_places_named_twice_count_once_and_order_stays(read):
    corners = np.array([[512, 0], [0, 0], [512, 0], [0, 512], [0, 0]])
    found = read(TRIDENT, corners)
    assert found.corner.tolist() == [[512, 0], [0, 0], [0, 512]]
    assert found.n_repeated == 2


def test_a_place_that_ends_half_a_pixel_outside_is_one_that_was_rounded(read):
    edge = 500.6
    corners = [[39_500, 0], [39_499, 0], [39_501, 0], [0, 29_500]]
    found = read({**TRIDENT, "patch_size_level0": 501}, corners, edge)
    assert np.abs(found.corner - corners).max(axis=1).round(3).tolist() == [0.1, 0, 0, 0.1]
    places, inside = grid(edge).at(*found.corner.T)
    assert inside.tolist() == [True, True, False, True]
    assert places.corner.tolist() == [[39_500, 0], [39_499, 0], [0, 29_500]]


@pytest.mark.parametrize(
    ("attributes", "corners", "edge", "reason"),
    [
        (TRIDENT, np.zeros((0, 2), int), 512, "holds no place"),
        (TRIDENT, np.zeros((3, 3), int), 512, "does not hold pairs of numbers: (3, 3) of int64"),
        (TRIDENT, np.zeros(4, int), 512, "does not hold pairs of numbers"),
        (TRIDENT, np.array([[b"a", b"b"]]), 512, "does not hold pairs of numbers"),
        (TRIDENT, [[0, 30_000]], 512, "a place at (0, 30000), outside the slide of 40000 x 30000"),
        (TRIDENT, [[0, 0], [-1, 5]], 512, "a place at (-1, 5), outside"),
        (TRIDENT, [[np.nan, 0]], 512, "outside the slide"),
        ({**TRIDENT, "level0_width": 39_999}, CORNERS, 512, "is of a slide of 39999 x 30000 pixels, and this one has"),
        (without(TRIDENT, "level0_height"), CORNERS, 512, "has no attribute level0_height"),
        (without(TRIDENT, "patch_size_level0", "patch_size"), CORNERS, 512, "has no attribute patch_size"),
        ({**without(TRIDENT, "patch_size_level0"), "target_magnification": 0}, CORNERS, 512, "has places of nan"),
        (TRIDENT, CORNERS, 1024, "has places of 512 level-0 pixels and patches have 1024"),
        (TRIDENT, CORNERS, 256, "patches have 256; write um: 128 and px: 256"),
        ({**TRIDENT, "patch_size_level0": "wide"}, CORNERS, 512, "has 'wide' as patch_size_level0, which is no number"),
        ({**TRIDENT, "patch_size_level0": -512}, CORNERS, 512, "has places of -512"),
        ({**CLAM, "level_dim": (20_000, 15_000)}, CORNERS, 1024, "is of a slide of 80000 x 60000 pixels"),
        ({"patch_size": 256, "patch_level": 3}, CORNERS, 1024, "names level 3 of a slide that has 3"),
        (without(CLAM, "patch_size"), CORNERS, 1024, "has no attribute patch_size"),
        ({}, CORNERS, 512, "has no attribute patch_size"),
        ({"patch_size": 256}, CORNERS, 512, "has no attribute level0_magnification"),
    ],
)
def test_a_bad_file_is_one_sentence(read, attributes, corners, edge, reason):
    with pytest.raises(WorkError, match=re.escape(reason)):
        read(attributes, corners, edge)


def test_a_file_that_is_none(tmp_path, read):
    def fails(reason):
        with pytest.raises(WorkError, match=reason):
            read_coordinates(tmp_path / "b.h5", grid(512), DOWNSAMPLES, 0.25)

    fails(r"no coordinates: .*b\.h5 does not exist")
    (tmp_path / "b.h5").write_bytes(b"no HDF5")
    fails(r"file of coordinates b\.h5 cannot be read")
    with pytest.raises(WorkError, match="has no data set coords"):
        read(TRIDENT, key="features")
    whole = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "b.h5").write_bytes(whole[: len(whole) // 2])
    fails(r"file of coordinates b\.h5 cannot be read")
    with h5py.File(tmp_path / "b.h5", "w") as file:  # 160 TB of nothing in a few hundred bytes
        file.create_dataset("coords", shape=(10**13, 2), dtype="i8", chunks=(1024, 2))
    fails("does not hold pairs of numbers")
