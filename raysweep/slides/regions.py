"""Pieces of work of bounded size."""

import numpy as np

from raysweep.slides.grid import Grid
from raysweep.slides.places import Places

_PATCHES = 4096  # at most, however small: what a killed worker repeats


def cut_regions(places: Places, grid: Grid, px: int, region_mpx: int) -> list[Places]:
    """The places in regions of at most `region_mpx` megapixels (2**20) of patches of `px` pixels.

    Each is in an order in which a reader decodes little twice.

    A region is about as wide as it is high, for only what lies on its border is decoded for a neighbour as well, and
    inside it places come row by row. Where places are few, a region takes those of several squares of the slide.
    """
    most = max(1, min(_PATCHES, region_mpx * 2**20 // px**2))
    wide = int(most**0.5)
    left, top = places.box[:, 0], places.box[:, 1]
    column, row = (
        np.floor((start + 0.5) * down / (wide * step)).astype(int)
        for start, down, step in zip((left, top), grid.downsample, grid.step, strict=True)
    )
    order = np.lexsort((left, top, column, row))
    square = row * (int(column.max()) + 1) + column
    starts = np.flatnonzero(np.diff(square[order], prepend=-1))
    regions: list[list[np.ndarray]] = [[]]
    filled = 0
    for together in np.split(order, starts[1:]):
        for part in np.split(together, range(most, len(together), most)):
            if filled and filled + len(part) > most:
                regions.append([])
                filled = 0
            regions[-1].append(part)
            filled += len(part)
    return [places.pick(np.concatenate(parts)) for parts in regions]
