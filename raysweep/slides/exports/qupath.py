"""The kept places of a slide for QuPath."""

import json
from collections.abc import Sequence

from raysweep.slides.grid import Grid
from raysweep.slides.places import Places


def kept_grid(places: Places, grid: Grid, classes: Sequence[str] = ()) -> bytes:
    """A GeoJSON FeatureCollection with one QuPath tile for each place, in the order of the places.

    Each is the rectangle that is read, in level-0 pixels from the top-left corner (QuPath's own units), with the
    fraction of tissue as the measurement `tissue` and the name of its label, an index into `classes`, as its
    classification. The same bytes for the same places.
    """
    features = [
        _feature([_whole(edge) for edge in rect], round(tissue, 4), classes[label] if label >= 0 else None)
        for rect, tissue, label in zip(
            places.rects(grid.downsample).tolist(), places.tissue.tolist(), places.label.tolist(), strict=True
        )
    ]
    collection = {"type": "FeatureCollection", "features": features}
    return json.dumps(collection, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _whole(edge: float) -> int | float:
    return int(edge) if edge == int(edge) else round(edge, 3)


def _feature(rect: list[int | float], tissue: float, name: str | None) -> dict[str, object]:
    left, top, right, bottom = rect
    ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    properties: dict[str, object] = {"objectType": "tile"}
    if name is not None:
        properties["classification"] = {"name": name}
    properties["measurements"] = {"tissue": tissue}
    return {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": properties}
