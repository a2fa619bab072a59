"""Shapes of annotations in level-0 pixels, and mending their geometry."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry import LineString, MultiPolygon, Point, Polygon
from shapely.geometry.base import BaseGeometry

_FARTHEST = 1e9  # level-0 pixels from the corner: more is damaged, and areas would lose their last digits


@dataclass(frozen=True)
class Shape:
    """A drawn object.

    Attributes:
        name: its class (QuPath) or group (ASAP), as the file has it.
        geometry: in level-0 pixels: a valid Polygon or MultiPolygon, a Point, or, where the file has something
            without an area (a measured distance, a contour of fewer than three points), a LineString, maybe empty.
    """

    name: str
    geometry: BaseGeometry


def polygons(parts: Sequence[Sequence[np.ndarray]]) -> BaseGeometry:
    """The area of several polygons, each a list of rings: its outline, then its holes.

    Args:
        parts: rings are float (n, 2), closed or not, at most crossing themselves.

    Everything that a crossing outline goes round belongs to the area, however often it goes round; a hole that lies
    elsewhere takes nothing away. An outline of fewer than three points, or one that encloses nothing, gives a
    LineString. Raises ValueError for coordinates that are on no slide.
    """
    _check_range(ring for rings in parts for ring in rings)
    flat = [polygon for rings in parts for polygon in _polygon([_open(ring) for ring in rings])]
    if not flat:
        return line(np.concatenate([ring for rings in parts for ring in rings] or [np.empty((0, 2))]))
    return flat[0] if len(flat) == 1 else _valid(MultiPolygon(flat))


def points(coordinates: np.ndarray) -> list[BaseGeometry]:
    """A Point for each row of float (n, 2). Raises ValueError as `polygons`."""
    _check_range([coordinates])
    return [Point(x, y) for x, y in coordinates.tolist()]


def line(coordinates: np.ndarray) -> BaseGeometry:
    """A LineString, maybe empty, from float (n, 2). Raises ValueError as `polygons`."""
    _check_range([coordinates])
    return LineString(np.repeat(coordinates, 2, axis=0) if len(coordinates) == 1 else coordinates)


def n_outside(geometries: Sequence[BaseGeometry], size: tuple[int, int]) -> int:
    """How many have no part on a slide of `size` (width, height), level-0 pixels; empty ones do not count."""
    left, top, right, bottom = shapely.bounds(list(geometries)).reshape(-1, 4).T  # NaN for empty ones
    return int(((right < 0) | (bottom < 0) | (left > size[0]) | (top > size[1])).sum())


def _check_range(rings: Iterable[np.ndarray]) -> None:
    for ring in rings:
        if not (np.abs(ring) <= _FARTHEST).all():
            raise ValueError(
                "a coordinate is not finite"
                if not np.isfinite(ring).all()
                else f"a coordinate is {np.abs(ring).max():.3g}, which is on no slide"
            )


def _open(ring: np.ndarray) -> np.ndarray:
    """Without the repeated first point."""
    return ring[:-1] if len(ring) > 1 and (ring[0] == ring[-1]).all() else ring


def _polygon(rings: list[np.ndarray]) -> list[Polygon]:
    if not rings or len(rings[0]) < 3:
        return []
    holes = [hole for hole in rings[1:] if len(hole) >= 3]
    area = Polygon(rings[0], holes)
    if not area.is_valid:  # make_valid would make areas of holes that lie outside
        area = _valid(Polygon(rings[0]))
        for hole in holes:
            area = shapely.difference(area, _valid(Polygon(hole)))
    return [part for part in shapely.get_parts(area) if isinstance(part, Polygon) and part.area > 0]


def _valid(area: BaseGeometry) -> BaseGeometry:
    """The same where it is valid; else its rings are repaired one by one, and what collapses to a line goes."""
    return area if area.is_valid else shapely.make_valid(area, method="structure", keep_collapsed=False)
