"""Annotation files and mask slides in the formats of Camelyon16, QuPath and PANDA."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from raysweep.slides.grid import Grid, lay_grid
from raysweep.slides.labels.labelled import Labelled
from raysweep.slides.spec import PatchSetSpec

Points = Sequence[Sequence[float]]

# The groups of Camelyon16's training slides (_2 is healthy tissue inside a metastasis) and those of its test slides.
TRAINING = {"tumor": "_0", "more tumor": "_1", "hole": "_2"}
TEST = {"tumor": "Tumor", "more tumor": "Tumor", "hole": "Exclusion"}


def square(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    """The corners of a rectangle."""
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def write_asap(path: Path, annotations: Iterable[tuple[str, Points] | tuple[str, Points, str]]) -> Path:
    """An ASAP XML of (group, points) or (group, points, type); without a type it is a Polygon."""
    rows = []
    for index, (group, points, *kind) in enumerate(annotations):
        corners = "".join(
            f'\n\t\t\t\t<Coordinate Order="{order}" X="{x}" Y="{y}" />' for order, (x, y) in enumerate(points)
        )
        head = f'Name="Annotation {index}" Type="{kind[0] if kind else "Polygon"}" PartOfGroup="{group}"'
        body = f"\n\t\t\t<Coordinates>{corners}\n\t\t\t</Coordinates>"
        rows.append(f'\n\t\t<Annotation {head} Color="#F4FA58">{body}\n\t\t</Annotation>')
    groups = '\n\t<AnnotationGroups>\n\t\t<Group Name="_0" PartOfGroup="None" Color="#00ff00"/>\n\t</AnnotationGroups>'
    text = f'<?xml version="1.0"?>\n<ASAP_Annotations>\n\t<Annotations>{"".join(rows)}\n\t</Annotations>{groups}\n'
    path.write_text(text + "</ASAP_Annotations>\n")
    return path


def write_camelyon(path: Path, tumors: Sequence[Points], holes: Sequence[Points] = (), *, test: bool = False) -> Path:
    """An ASAP XML with the group names of Camelyon16's training or test slides; tumours alternate between both."""
    names = TEST if test else TRAINING
    annotations = [(names["more tumor" if index % 2 else "tumor"], points) for index, points in enumerate(tumors)]
    return write_asap(path, [*annotations, *((names["hole"], points) for points in holes)])


def write_qupath(path: Path, features: Iterable[tuple[str | None, str, Any]]) -> Path:
    """QuPath's GeoJSON of (class, geometry type, coordinates)."""
    rows = []
    for index, (name, kind, coordinates) in enumerate(features):
        properties: dict[str, Any] = {"objectType": "annotation"}
        if name is not None:
            properties["classification"] = {"name": name, "color": [200, 0, 0]}
        rows.append(
            {
                "type": "Feature",
                "id": f"00000000-0000-0000-0000-{index:012d}",
                "geometry": {"type": kind, "coordinates": coordinates},
                "properties": properties,
            }
        )
    path.write_text(json.dumps({"type": "FeatureCollection", "features": rows}))
    return path


def polygon(points: Points, *holes: Points) -> list[list[list[float]]]:
    """GeoJSON coordinates of a polygon: closed rings, the outline first."""
    return [[list(point) for point in [*ring, ring[0]]] for ring in (points, *holes)]


def write_mask(
    path: Path, values: np.ndarray, *, channels: int = 3, tile: int | None = 64, levels: int = 2, **options: Any
) -> Path:
    """A mask slide like PANDA's: a pyramid, the label in red and the other channels 0.

    `values` is (h, w); coarser levels halve it. `tile=None` writes strips. Other options go to tifffile.
    """
    kind: dict[str, Any] = {"photometric": "rgb" if channels == 3 else "minisblack", "compression": "deflate"}
    kind |= {"tile": (tile, tile)} if tile else {"rowsperstrip": 16}
    with tifffile.TiffWriter(path) as tiff:
        for level in range(levels):
            plane = values[:: 2**level, :: 2**level]
            pixels = np.stack([plane, *[np.zeros_like(plane)] * (channels - 1)], axis=-1) if channels > 1 else plane
            if options.get("planarconfig") == "separate":
                pixels = np.moveaxis(pixels, -1, 0)
            tiff.write(np.ascontiguousarray(pixels), metadata=None, **(kind | options))
    return path


def grid_of(size: tuple[int, int], px: int, stride: float = 1.0) -> Grid:
    """Patches of `px` level-0 pixels on a slide of `size` (width, height) with one level."""
    spec = PatchSetSpec(slides="*", mpp="native", px=px, stride=stride)
    return lay_grid(spec, (0.5, 0.5), [size], [(1.0, 1.0)])


def labelled(
    name: str = "a",
    *,
    label: str | None = None,
    columns: Mapping[str, str] | None = None,
    shapes: Any = None,
    mask: Any = None,
) -> Labelled:
    """A slide with what labels it."""
    return Labelled(name, label, columns or {}, shapes, mask)
