"""One annotation of a slide."""

from dataclasses import dataclass

from shapely.geometry.base import BaseGeometry


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
