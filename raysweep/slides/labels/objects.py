"""The annotations of a slide by class: each object, and all areas and points of a class together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from raysweep.errors import WorkError
from raysweep.slides.labels.labelled import Labelled
from raysweep.slides.labels.spec import LabelSpec


def objects(spec: LabelSpec, slide: Labelled, classes: Sequence[str]) -> Iterator[tuple[int | None, BaseGeometry]]:
    """Each annotation that counts, with the id of its class; None for those to subtract.

    Raises WorkError for a name that no rule names.
    """
    homes: dict[str, int | None] = dict.fromkeys(spec.subtract)
    homes |= {name: classes.index(home) for home, names in spec.classes.items() for name in names}
    for shape in slide.shapes or ():
        if shape.name in spec.ignore:
            continue
        if shape.name not in homes:
            raise WorkError(
                f"annotations {slide.columns.get('annotations') or 'of the slide'}: no rule names the class "
                f"{shape.name}; add it to labels.classes, labels.subtract or labels.ignore"
            )
        yield homes[shape.name], shape.geometry


@dataclass(frozen=True)
class Regions:
    """What of a slide belongs to which class, in level-0 pixels.

    Attributes:
        areas: id of a class -> its valid polygons, without what is subtracted; classes without any are left out.
        points: id of a class -> its points, float (n, 2); classes without any are left out.
        without_area: how many annotations are neither (lines, contours of two points).
    """

    areas: dict[int, BaseGeometry]
    points: dict[int, np.ndarray]
    without_area: int

    @classmethod
    def of(cls, spec: LabelSpec, slide: Labelled, classes: Sequence[str]) -> "Regions":
        """The regions of a slide. Raises WorkError for a name that no rule names, or points that no rule can use."""
        drawn: dict[int | None, list[BaseGeometry]] = {}
        points: dict[int, list[tuple[float, float]]] = {}
        without_area = 0
        for home, geometry in objects(spec, slide, classes):
            if geometry.area > 0:
                drawn.setdefault(home, []).append(geometry)
            elif geometry.geom_type == "Point" and home is not None and spec.rule == "any":
                points.setdefault(home, []).append((geometry.x, geometry.y))
            elif geometry.geom_type == "Point":
                raise WorkError(
                    f"annotations {slide.columns.get('annotations') or 'of the slide'}: "
                    f"{'an area to subtract' if home is None else classes[home]} is a point; "
                    "points label patches by `rule: any` or `source: points`"
                )
            else:
                without_area += 1
        cut = _union(drawn.pop(None, []))
        areas = {
            home: _union(parts) if cut.is_empty else shapely.difference(_union(parts), cut)
            for home, parts in drawn.items()
            if home is not None
        }
        return cls(
            {home: area for home, area in areas.items() if area.area > 0},
            {home: np.array(found) for home, found in points.items()},
            without_area,
        )


def _union(parts: list[BaseGeometry]) -> BaseGeometry:
    return shapely.disjoint_subset_union_all(parts)  # as `union_all`, and fast where parts lie apart
