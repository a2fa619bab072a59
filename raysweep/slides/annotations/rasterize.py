"""Areas as pixels."""

from collections.abc import Iterable, Iterator

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry


def rasterize(
    geometries: Iterable[BaseGeometry],
    shape: tuple[int, int],
    scale: tuple[float, float],
    origin: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """Which pixels have their centre inside any of some areas, bool (h, w).

    Args:
        geometries: valid polygons in level-0 pixels; what has no area covers nothing.
        shape: (height, width) of the raster.
        scale: level-0 pixels per pixel of the raster (x, y).
        origin: level-0 pixel (x, y) of the raster's top-left corner.

    Pillow's and scikit-image's polygons are not used: the one paints the outline too, half a pixel too wide on each
    side, and the other asks every pixel about every edge.
    """
    raster = np.zeros(shape, bool)
    for polygon in shapely.get_parts(list(geometries)):
        rings = [(ring - origin) / scale for ring in _rings(polygon)]
        if rings:
            _fill(raster, rings)
    return raster


def _rings(polygon: BaseGeometry) -> Iterator[np.ndarray]:
    if polygon.geom_type == "Polygon" and not polygon.is_empty:
        for ring in (polygon.exterior, *polygon.interiors):
            yield shapely.get_coordinates(ring)


def _fill(raster: np.ndarray, rings: list[np.ndarray]) -> None:
    """Paint one polygon: along each row of pixel centres, inside is to the right of an odd number of edges."""
    starts = np.concatenate([ring[:-1] for ring in rings])
    ends = np.concatenate([ring[1:] for ring in rings])
    height, width = raster.shape
    # Edges belong to the rows whose centre c has y_low <= c < y_high, so that a corner counts once.
    low, high = np.minimum(starts[:, 1], ends[:, 1]), np.maximum(starts[:, 1], ends[:, 1])
    first = np.clip(np.ceil(low - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(high - 0.5), 0, height).astype(np.int64)
    crossed = last > first
    if not crossed.any():
        return
    starts, ends, first, last = starts[crossed], ends[crossed], first[crossed], last[crossed]
    top, bottom = int(first.min()), int(last.max())
    edge = np.repeat(np.arange(len(first)), last - first)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(last - first) - (last - first), last - first) + first[edge]
    slope = (ends[:, 0] - starts[:, 0]) / (ends[:, 1] - starts[:, 1])
    x = starts[edge, 0] + (row + 0.5 - starts[edge, 1]) * slope[edge]
    column = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
    left, right = int(column.min()), int(column.max())
    flips = np.zeros((bottom - top, right - left + 1), np.uint8)
    np.bitwise_xor.at(flips, (row - top, column - left), 1)
    inside = np.bitwise_xor.accumulate(flips, axis=1)[:, :-1].astype(bool)
    raster[top:bottom, left:right] |= inside
