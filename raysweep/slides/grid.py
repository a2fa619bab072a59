"""The grid of patches on a slide: which level, and the pixel edges of every cell."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raysweep.slides.spec import PatchSetSpec

_LEVEL_SLACK = 1.005  # a level this little too coarse counts as fine enough: scanners' downsamples are not exact


class TooCoarse(Exception):
    """The slide has fewer pixels than the patches need."""


@dataclass(frozen=True)
class Grid:
    """Cells of exactly `um` x `um`, row by row from the slide's top-left corner.

    Cell (column, row) begins at `column * step` level-0 pixels, a real number: each edge is rounded once, so errors
    never add up, neighbours share their edge, and no pixel belongs to two cells.

    Attributes:
        step: edges of a cell in level-0 pixels (x, y), real numbers.
        level: which level the pixels are read from.
        downsample: level-0 pixels per pixel of that level.
        factor: the patch's um per pixel over the level's (above 1 shrinks); of the coarser axis.
        columns, rows: how many cells lie fully inside the slide.
    """

    step: tuple[float, float]
    level: int
    downsample: float
    factor: float
    columns: int
    rows: int

    def origin(self, column: int, row: int) -> tuple[int, int]:
        """The level-0 pixel (x, y) at the top-left corner of a cell."""
        return _edge(column, self.step[0]), _edge(row, self.step[1])

    def box(self, column: int, row: int) -> tuple[int, int, int, int]:
        """A cell's edges in pixels of `level`: left, top, right, bottom (the last two exclusive)."""
        x, y = (step / self.downsample for step in self.step)
        return _edge(column, x), _edge(row, y), _edge(column + 1, x), _edge(row + 1, y)

    def edges(self, scale_x: float, scale_y: float) -> tuple[np.ndarray, np.ndarray]:
        """Edges of all columns and rows as real numbers, in pixels that are `scale` level-0 pixels wide."""
        x, y = self.step
        return np.arange(self.columns + 1) * (x / scale_x), np.arange(self.rows + 1) * (y / scale_y)


def lay_grid(
    spec: PatchSetSpec,
    mpp_xy: tuple[float, float],
    level_sizes: Sequence[tuple[int, int]],
    downsamples: Sequence[float],
) -> Grid:
    """The grid of a patch set on a slide with the given um per level-0 pixel and pyramid.

    Pixels come from the coarsest level that is at least as fine as the patches, so one shrinking resize is enough.
    Raises TooCoarse when even level 0 would have to be enlarged by more than `spec.max_upsample`.
    """
    coarser = max(mpp_xy)
    enlarged = coarser / spec.mpp
    if enlarged > spec.max_upsample * (1 + 1e-9):
        raise TooCoarse(
            f"too coarse: the slide has {coarser:.4g} um per pixel and the patches need {spec.mpp:.4g}, "
            f"{enlarged:.3g} times enlarged (at most {spec.max_upsample:g})"
        )
    fine = [i for i, down in enumerate(downsamples) if coarser * down <= spec.mpp * _LEVEL_SLACK]
    level = max(fine, key=lambda i: (downsamples[i], -i), default=0)
    down = downsamples[level]
    step_x, step_y = (spec.um / mpp for mpp in mpp_xy)
    return Grid(
        step=(step_x, step_y),
        level=level,
        downsample=down,
        factor=spec.mpp / (coarser * down),
        columns=_inside(step_x, level_sizes[0][0], down, level_sizes[level][0]),
        rows=_inside(step_y, level_sizes[0][1], down, level_sizes[level][1]),
    )


def _edge(index: int, step: float) -> int:
    return math.floor(index * step + 0.5)


def _inside(step: float, size: int, down: float, level_size: int) -> int:
    """How many cells end inside level 0 and inside the level that is read."""
    n = int(size / step) + 1
    while n > 0 and (_edge(n, step) > size or _edge(n, step / down) > level_size):
        n -= 1
    return n
