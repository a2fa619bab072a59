"""Pieces of work: every place once, bounded, and in an order that decodes little twice."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from raysweep.slides.grid import lay_grid
from raysweep.slides.places import into_cuts
from raysweep.slides.spec import PatchSetSpec


def laid(px: int, columns: int, rows: int, mpp: float = 0.5):
    spec = PatchSetSpec(slides="x", um=px, px=px)
    return lay_grid(spec, (mpp, mpp), [(int(columns * px / mpp) + 1, int(rows * px / mpp) + 1)], [(1.0, 1.0)])


@given(
    st.integers(1, 60), st.integers(1, 60), st.floats(0.02, 1), st.sampled_from([16, 100, 700, 3000]),
    st.integers(0, 99), st.sampled_from([0.5, 0.499, 0.2527]), st.sampled_from([1, 16, 64]),
)  # fmt: skip
def test_cuts_hold_every_place_once_and_are_bounded(columns, rows, dense, px, seed, mpp, cut_mpx):
    grid = laid(px, columns, rows, mpp)
    every = grid.all()
    places = every.pick(np.random.default_rng(seed).random(len(every)) < dense)
    if len(places) == 0:
        return
    cuts = into_cuts(places, grid.downsample, grid.step, px, cut_mpx)
    together = [tuple(corner) for cut in cuts for corner in cut.corner.tolist()]
    assert sorted(together) == sorted(map(tuple, places.corner.tolist()))
    for cut in cuts:
        assert 0 < len(cut) <= 4096
        assert len(cut) == 1 or len(cut) * px**2 <= cut_mpx * 2**20
    assert all(len(a) + len(b) > min(4096, cut_mpx * 2**20 // px**2) / 2 for a, b in pairwise(cuts))


def test_a_dense_slide_is_cut_into_squares():
    grid = laid(512, 64, 48, mpp=0.499)
    cuts = into_cuts(grid.all(), grid.downsample, grid.step, 512, 64)
    assert [len(cut) for cut in cuts] == [256] * 12
    for cut in cuts:
        left, top, right, bottom = cut.box.T
        assert abs((right.max() - left.min()) - (bottom.max() - top.min())) <= 2
        order = np.lexsort((left, top))
        assert (order == np.arange(256)).all()  # row by row: what two rows share is decoded once


def test_more_memory_makes_fewer_cuts():
    grid = laid(512, 32, 32)
    assert [len(into_cuts(grid.all(), grid.downsample, grid.step, 512, mpx)) for mpx in (16, 64, 256)] == [16, 4, 1]
