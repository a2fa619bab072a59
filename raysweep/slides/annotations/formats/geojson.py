"""GeoJSON as QuPath writes it: a FeatureCollection, a list of features, or one feature."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from raysweep.bounds import check_room
from raysweep.errors import WorkError
from raysweep.slides.annotations.formats import annotation_format
from raysweep.slides.annotations.shapes import Shape, line, points, polygons

_ERRORS = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    RecursionError,
)  # what a file of another form brings about
_GEOMETRIES = (
    "Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon", "GeometryCollection",
)  # fmt: skip
_OBJECT, _LIST, _VALUE = 300, 80, 40  # bytes that Python needs, at most, for each { [ and comma of a JSON
_UNCLASSIFIED = "Unclassified"  # what QuPath shows for an object without a class


@annotation_format(".geojson", ".json")
def read(path: Path) -> list[Shape]:
    """One shape for each feature, each point of a MultiPoint and each member of a GeometryCollection.

    A feature without a geometry covers nothing. Of numbers only coordinates matter: QuPath writes NaN for a measurement
    without a value.
    The class is `properties.classification`: an object with `name` or `names`, or a plain string.
    """
    shapes = []
    for place, feature in _features(path):
        try:
            name = _name(feature.get("properties") or {})
            shapes += [Shape(name, geometry) for geometry in _geometries(feature.get("geometry"))]
        except _ERRORS as error:
            reason = f"has no {error}" if isinstance(error, KeyError) else error
            raise WorkError(f"annotations {path}: {place}: {reason}") from error
    return shapes


def _features(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Each feature with the words that say where it is."""
    text = path.read_bytes()
    objects, lists, values = (text.count(mark) for mark in b"{[,")
    check_room(len(text) + _OBJECT * objects + _LIST * lists + _VALUE * values, f"annotations {path}")
    try:
        data = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise WorkError(f"annotations {path}: is no JSON ({error})") from error
    kind = data.get("type") if isinstance(data, dict) else None
    found = data["features"] if kind == "FeatureCollection" and "features" in data else data
    found = [data] if kind == "Feature" else found
    if kind in _GEOMETRIES:
        found = [{"type": "Feature", "geometry": data}]
    if not isinstance(found, list):
        raise WorkError(f"annotations {path}: is no GeoJSON; write a FeatureCollection or a list of features")
    for index, feature in enumerate(found):
        if not (isinstance(feature, dict) and feature.get("type") == "Feature"):
            raise WorkError(f"annotations {path}: features[{index}]: is no GeoJSON feature")
    return [(f"features[{index}]", feature) for index, feature in enumerate(found)]


def _name(properties: dict[str, Any]) -> str:
    classification = properties.get("classification")
    if isinstance(classification, dict):
        # A list is a class and those derived from it, which QuPath shows with colons between.
        names = classification.get("names")
        classification = ": ".join(names) if names else classification.get("name")
    if classification is not None and not isinstance(classification, str):
        raise TypeError(f"classification is {classification!r}, not a name")
    return classification or _UNCLASSIFIED


def _geometries(geometry: Any) -> list[Any]:
    if geometry is None:
        return []
    if not isinstance(geometry, dict):
        raise ValueError("geometry is no object")
    kind = geometry["type"]
    if kind not in _GEOMETRIES:
        raise ValueError(f"geometry is a {kind}, none of {', '.join(_GEOMETRIES)}")
    coordinates = _list(geometry, "geometries" if kind == "GeometryCollection" else "coordinates")
    if kind == "GeometryCollection":
        return [shape for part in coordinates for shape in _geometries(part)]
    if kind == "Point":
        return points(_array([coordinates] if coordinates else []))
    if kind == "MultiPoint":
        return points(_array(coordinates))
    if kind == "LineString":
        return [line(_array(coordinates))]
    if kind == "MultiLineString":
        return [line(_array(part)) for part in coordinates]
    if kind == "Polygon":
        return [polygons([_rings(coordinates)])]
    return [polygons([_rings(rings) for rings in coordinates])]


def _list(geometry: dict[str, Any], key: str) -> list[Any]:
    if not isinstance(geometry[key], list):
        raise ValueError(f"{key} are no list")
    return list(geometry[key])


def _rings(rings: list[Any]) -> list[np.ndarray]:
    return [_array(ring) for ring in rings]


def _array(coordinates: list[Any]) -> np.ndarray:
    """Coordinates as float (n, 2)."""
    if not coordinates:
        return np.empty((0, 2))
    try:
        array = np.array([position[:2] for position in coordinates], dtype=np.float64)
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError("coordinates are no list of positions of two numbers, or are nested otherwise") from error
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError("coordinates are no list of positions of two numbers, or are nested otherwise")
    return array
