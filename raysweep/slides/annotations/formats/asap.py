"""XML as ASAP writes it (the format of Camelyon16)."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from raysweep.bounds import check_room
from raysweep.errors import WorkError
from raysweep.slides.annotations.formats import annotation_format
from raysweep.slides.annotations.shapes import Shape, line, points, polygons

_AREAS = ("Polygon", "Rectangle", "Spline")  # a spline is taken as the polygon through its points
_POINTS = ("Dot", "PointSet")
_LINES = ("Measurement",)
_ELEMENT, _ATTRIBUTE = 150, 150  # bytes that Python needs, at most, for each < and = of an XML


@annotation_format(".xml")
def read(path: Path) -> list[Shape]:
    """One shape for each annotation, and for each point of a PointSet; the class is its group (`PartOfGroup`)."""
    text = path.read_bytes()
    check_room(len(text) + _ELEMENT * text.count(b"<") + _ATTRIBUTE * text.count(b"="), f"annotations {path}")
    try:
        root = ElementTree.fromstring(text, ElementTree.XMLParser(target=_Plain()))
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise WorkError(f"annotations {path}: is no plain XML ({error})") from error
    if root.tag != "ASAP_Annotations":
        raise WorkError(
            f"annotations {path}: is no ASAP file: its root is {root.tag}, not ASAP_Annotations; "
            "write GeoJSON, as QuPath exports it, or ASAP's XML"
        )
    shapes = []
    for index, annotation in enumerate(root.iterfind("Annotations/Annotation")):
        try:
            shapes += _shapes(annotation)
        except (KeyError, ValueError) as error:
            reason = f"has no {error}" if isinstance(error, KeyError) else error
            place = f"annotation {index} ({annotation.get('Name', 'no name')})"
            raise WorkError(f"annotations {path}: {place}: {reason}") from error
    return shapes


class _Plain(ElementTree.TreeBuilder):
    """Refuses entities before one is expanded: they can grow without bound."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("it has a DOCTYPE")


def _shapes(annotation: ElementTree.Element) -> list[Shape]:
    kind, group = annotation.attrib["Type"], annotation.attrib["PartOfGroup"]
    coordinates = _coordinates(annotation)
    if kind in _POINTS:
        return [Shape(group, point) for point in points(coordinates)]
    if kind in _AREAS:
        return [Shape(group, polygons([[coordinates]]))]
    if kind in _LINES:
        return [Shape(group, line(coordinates))]
    raise ValueError(f"Type is {kind}, none of {', '.join(_AREAS + _POINTS + _LINES)}")


def _coordinates(annotation: ElementTree.Element) -> np.ndarray:
    """Float (n, 2), by `Order`."""
    rows = [
        [float(point.attrib[key].replace(",", ".")) for key in ("Order", "X", "Y")]  # some write as their country does
        for point in annotation.iterfind("Coordinates/Coordinate")
    ]
    table = np.array(sorted(rows, key=lambda row: row[0]), dtype=np.float64).reshape(-1, 3)
    return table[:, 1:]
