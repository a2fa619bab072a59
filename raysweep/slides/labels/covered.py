"""How much of each patch an area covers."""

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from raysweep.slides.labels.pieces import pieces


def covered(area: BaseGeometry, rects: np.ndarray) -> np.ndarray:
    """The fraction of each rectangle inside an area, float64 (n,), exact to about 1e-12.

    Args:
        area: valid polygons, in any units.
        rects: left, top, right and bottom in the same units, float (n, 4).
    """
    parts, boxes = pieces(area), shapely.box(*rects.T)
    part, box = shapely.STRtree(boxes).query(parts, predicate="intersects")
    areas = shapely.area(shapely.intersection(parts[part], boxes[box]))
    return np.minimum(1.0, np.bincount(box, areas, minlength=len(boxes)) / shapely.area(boxes))
