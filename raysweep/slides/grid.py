"""The grid of patches on a slide: which level is read, and the pixel edges of every patch."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from raysweep.slides.places import Places
from raysweep.slides.spec import PatchSetSpec

_LEVEL_SLACK = 1.005  # a level this little too coarse counts as fine enough: scanners' downsamples are not exact


class TooCoarse(Exception):
    """The slide has fewer pixels than the patches need."""


@dataclass(frozen=True)
class Grid:
    """Squares of exactly `um` x `um`, row by row from the slide's top-left corner.

    Square (column, row) begins at `column * step` level-0 pixels, a real number: each edge is rounded once, so errors
    never add up. Without a stride of their own, neighbours share their edge and no pixel belongs to two.

    Attributes:
        step: from one square to the next, in level-0 pixels (x, y), real numbers.
        edge: of a square, in level-0 pixels (x, y), real numbers; the same as `step` unless squares overlap.
        level: which level the pixels are read from.
        level_size: (width, height) of that level, pixels.
        downsample: level-0 pixels per pixel of that level (x, y).
        size: (width, height) of level 0, pixels.
        factor: the patch's um per pixel over the level's (above 1 shrinks); of the coarser axis.
        columns, rows: how many squares lie fully inside the slide.
        least_edge: pixels of level 0 that a square needs, or it would be enlarged by more than `max_upsample`.
    """

    step: tuple[float, float]
    edge: tuple[float, float]
    level: int
    level_size: tuple[int, int]
    downsample: tuple[float, float]
    size: tuple[int, int]
    factor: float
    columns: int
    rows: int
    least_edge: float

    def places(self, columns: np.ndarray, rows: np.ndarray) -> Places:
        """The squares at some columns and rows, integer (n,) each."""
        (x0, x1), (y0, y1) = (
            # Where squares do not overlap this is index + 1.0, exactly the start of the next one.
            (index * step, (index + edge / step) * step)
            for index, step, edge in zip((columns, rows), self.step, self.edge, strict=True)
        )
        return self._rounded(x0, y0, x1, y1)

    def all(self) -> Places:
        """Every square, row by row."""
        return Places.join(list(self.blocks(2**20)))

    def blocks(self, most: int) -> Iterator[Places]:
        """Every square, row by row, at most so many at a time: all together may take more memory than is wanted."""
        n = self.rows * self.columns
        for start in range(0, max(1, n), most):
            rows, columns = np.divmod(np.arange(start, min(n, start + most)), max(1, self.columns))
            yield self.places(columns, rows)

    def at(
        self, x: np.ndarray, y: np.ndarray, width: np.ndarray | None = None, height: np.ndarray | None = None
    ) -> tuple[Places, np.ndarray]:
        """Squares with their top-left corners anywhere, and which of those asked for lie inside the slide.

        Args:
            x, y: corners in level-0 pixels, real numbers (n,).
            width, height: edges in level-0 pixels (n,) where they are not those of the grid.

        Returns the m places inside and a bool (n,) that is true m times.
        """
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        places = self._rounded(
            x, y, x + (self.edge[0] if width is None else width), y + (self.edge[1] if height is None else height)
        )
        left, top, right, bottom = places.box.T
        inside = (left >= 0) & (top >= 0) & (right <= self.level_size[0]) & (bottom <= self.level_size[1])
        inside &= (places.corner >= 0).all(axis=1) & (right > left) & (bottom > top)
        return places.pick(inside), inside

    def moved_inside(self, corners: np.ndarray, edges: np.ndarray) -> np.ndarray:
        """Corners of squares, moved by what they reach over the slide's edge; in level-0 pixels, float (n, 2)."""
        ends = np.minimum(self.size, np.array(self.level_size) * self.downsample)
        return np.clip(corners, 0, np.maximum(0, ends - edges))

    def _rounded(self, x0: np.ndarray, y0: np.ndarray, x1: np.ndarray, y1: np.ndarray) -> Places:
        box = _rounded(np.stack([x0, y0, x1, y1], axis=1) / (*self.downsample, *self.downsample))
        return Places.of(_rounded(np.stack([x0, y0], axis=1)), box)


def lay_grid(
    spec: PatchSetSpec,
    mpp_xy: tuple[float, float],
    level_sizes: Sequence[tuple[int, int]],
    downsamples: Sequence[tuple[float, float]],
) -> Grid:
    """The grid of a patch set on a slide with the given um per level-0 pixel and pyramid.

    Pixels come from the coarsest level that is at least as fine as the patches, so one shrinking resize is enough; at
    native scale, and where objects of all sizes are cut by their boxes, from level 0. Raises TooCoarse when even level
    0 would have to be enlarged by more than `spec.max_upsample`, which is judged for each box where there are boxes.
    """
    least_edge = spec.px / spec.max_upsample * (1 - 1e-9)
    if spec.um is None:
        level, down, factor = 0, (1.0, 1.0), 1.0
        edge: tuple[float, float] = (float(spec.px), float(spec.px))
    else:
        coarser, patch_mpp = max(mpp_xy), spec.um / spec.px
        enlarged = coarser / patch_mpp
        if enlarged > spec.max_upsample * (1 + 1e-9) and not spec.labels.box:
            raise TooCoarse(
                f"too coarse: the slide has {coarser:.4g} um per pixel and the patches need {patch_mpp:.4g}, "
                f"{enlarged:.3g} times enlarged (at most {spec.max_upsample:g})"
            )
        mpps = [max(mpp_xy[0] * x, mpp_xy[1] * y) for x, y in downsamples]
        fine = [i for i, mpp in enumerate(mpps) if mpp <= patch_mpp * _LEVEL_SLACK]
        level = 0 if spec.labels.box else max(fine, key=lambda i: (mpps[i], -i), default=0)
        down = downsamples[level]
        edge = (spec.um / mpp_xy[0], spec.um / mpp_xy[1])
        factor = patch_mpp / mpps[level]
    stride = 1.0 if spec.stride is None else spec.stride
    step = (edge[0] * stride, edge[1] * stride)
    columns, rows = (
        _inside(step[axis], edge[axis], level_sizes[0][axis], down[axis], level_sizes[level][axis]) for axis in (0, 1)
    )
    return Grid(step, edge, level, level_sizes[level], down, level_sizes[0], factor, columns, rows, least_edge)


def _rounded(edges: np.ndarray) -> np.ndarray:
    return np.floor(edges + 0.5).astype(np.int64)


def _inside(step: float, edge: float, size: int, down: float, level_size: int) -> int:
    """How many squares end inside level 0 and inside the level that is read."""
    n = max(0, int((size - edge) / step) + 2)
    while n > 0:
        end = (n - 1 + edge / step) * step
        if math.floor(end + 0.5) <= size and math.floor(end / down + 0.5) <= level_size:
            break
        n -= 1
    return n
