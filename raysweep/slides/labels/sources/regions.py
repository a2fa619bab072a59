"""Labels from annotated areas."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import shapely

from raysweep.slides.annotations.shapes import n_outside
from raysweep.slides.grid import Grid
from raysweep.slides.labels.labelled import Labelled
from raysweep.slides.labels.objects import Regions
from raysweep.slides.labels.pieces import claim, covered
from raysweep.slides.labels.spec import LabelSpec
from raysweep.slides.places import Places


def label(
    spec: LabelSpec,
    slide: Labelled,
    grid: Grid,
    places: Places,
    classes: Sequence[str],
    seed: int,
    dropped: Counter[str],
) -> Places:
    """Every place with the class that claims it by the rule.

    A centre on the outline is inside. A point is on the patch whose pixel it is in: of two neighbours the right or
    lower one has their edge.
    """
    regions = Regions.of(spec, slide, classes)
    dropped["annotations without area"] += regions.without_area
    dropped["annotations outside the slide"] += n_outside([s.geometry for s in slide.shapes or ()], grid.size)
    names = [name for name in spec.classes if name != spec.background]
    ids = np.array([classes.index(name) for name in names], np.int64)
    rects = places.rects(grid.downsample)
    fractions = np.zeros((len(places), len(ids)))
    touched = np.zeros(fractions.shape, bool)
    for column, home in enumerate(ids.tolist()):
        if home in regions.areas:
            area = regions.areas[home]
            fractions[:, column] = _at_center(area, rects) if spec.rule == "center" else covered(area, rects)
        if home in regions.points:
            touched[:, column] = _holds_point(regions.points[home], rects)
    return places.but(label=claim(spec, ids, fractions, touched))


def _at_center(area: shapely.Geometry, rects: np.ndarray) -> np.ndarray:
    shapely.prepare(area)
    x, y = (rects[:, 0] + rects[:, 2]) / 2, (rects[:, 1] + rects[:, 3]) / 2
    return shapely.intersects_xy(area, x, y).astype(np.float64)


def _holds_point(points: np.ndarray, rects: np.ndarray) -> np.ndarray:
    pairs = shapely.STRtree(shapely.box(*rects.T)).query(shapely.points(points), predicate="intersects")
    point, rect = points[pairs[0]], rects[pairs[1]]
    inside = (point >= rect[:, :2]).all(axis=1) & (point < rect[:, 2:]).all(axis=1)
    found = np.zeros(len(rects), bool)
    found[pairs[1][inside]] = True
    return found
