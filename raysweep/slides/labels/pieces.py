"""How much of each patch a class covers, and which class claims it."""

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from raysweep.slides.labels.spec import LabelSpec

_FEW_CORNERS = 256  # less is not worth another cut
_LOST = 1e-9


def pieces(area: BaseGeometry) -> np.ndarray:
    """Valid polygons of few corners that together are the area and do not overlap, objects (n,).

    What is cut with a patch is then small, however long the outline is.
    """
    done, work = [], list(shapely.get_parts(area))
    while work:
        piece = work.pop()
        if piece.area == 0:
            continue
        if shapely.get_num_coordinates(piece) <= _FEW_CORNERS:
            done.append(piece)
            continue
        left, top, right, bottom = piece.bounds
        x, y = (left + right) / 2, (top + bottom) / 2
        quarters = [(left, top, x, y), (x, top, right, y), (left, y, x, bottom), (x, y, right, bottom)]
        # Several times as fast as an intersection, but without its promise of a valid result.
        parts = np.array([shapely.clip_by_rect(piece, *quarter) for quarter in quarters])
        if not shapely.is_valid(parts).all() or abs(shapely.area(parts).sum() - piece.area) > _LOST * piece.area:
            parts = shapely.intersection(piece, shapely.box(*np.transpose(quarters)))
        work += list(shapely.get_parts(parts))
    return np.array(done, dtype=object)


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


_SLACK = 1e-9  # fractions are exact to about 1e-12: equal ones must be equal


def claim(spec: LabelSpec, ids: np.ndarray, fractions: np.ndarray, touched: np.ndarray | None = None) -> np.ndarray:
    """The class of each patch, int32 (n,); -1 where none claims it.

    Args:
        spec: `area >= t` asks for that fraction, `any` for more than nothing; by `center` fractions are 0 or 1.
        ids: the classes, integer (k,), the one that wins a tie first.
        fractions: of each patch that each class covers, float (n, k).
        touched: bool (n, k): patches that a class claims without covering any of it.
    """
    if not len(ids):
        return np.full(len(fractions), -1, np.int32)
    least = spec.least_area
    claims = fractions > _SLACK if least is None else fractions >= least - _SLACK
    if touched is not None:
        claims = claims | touched
    best = np.argmax(np.where(claims, np.round(fractions, 9), -1.0), axis=1)
    return np.where(claims.any(axis=1), ids[best], -1).astype(np.int32)
