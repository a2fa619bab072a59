"""Patches around annotated objects."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from raysweep.errors import WorkError
from raysweep.randomness import generator
from raysweep.slides.grid import Grid
from raysweep.slides.labels.choose import Labelled
from raysweep.slides.labels.objects import objects
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
    """Places around each object with its class, then those of the grid that touch no object, without one.

    An object is a point or an area; its centre is that of its bounding box. Shifts are a function of the seed and the
    object alone. Places that reach out of the slide are left out, and of several with one corner all but the first.
    """
    homes, geometries = [], []
    for home, geometry in objects(spec, slide, classes):
        if home is not None and (geometry.area > 0 or geometry.geom_type == "Point"):
            homes.append(home)
            geometries.append(geometry)
        else:
            dropped["annotations without area"] += 1
    bounds = shapely.bounds(geometries).reshape(-1, 4)
    if spec.box:
        if any(geometry.geom_type == "Point" for geometry in geometries):
            raise WorkError(
                f"annotations {slide.columns.get('annotations') or 'of the slide'}: a point has no bounding box; "
                "leave labels.box out"
            )
        left, top, right, bottom = bounds.T
        around, inside = grid.at(left, top, right - left, bottom - top)
    else:
        corners = _corners(spec, slide.name, grid, [classes[home] for home in homes], bounds, seed)
        around, inside = grid.at(corners[:, 0], corners[:, 1])
    dropped["outside the slide"] += int((~inside).sum())
    around = around.but(label=np.repeat(np.array(homes, np.int32), spec.samples)[inside])
    free = _free(places.rects(grid.downsample), geometries)
    dropped["on an object"] += int((~free).sum())
    both = Places.join([around, places.pick(free)])
    _, first = np.unique(both.corner, axis=0, return_index=True)
    dropped["same corner"] += len(both) - len(first)
    return both.pick(np.sort(first))


def _corners(spec: LabelSpec, name: str, grid: Grid, kinds: Sequence[str], bounds: np.ndarray, seed: int) -> np.ndarray:
    """Top-left corners of the patches around objects, float (objects * samples, 2)."""
    centers = (bounds[:, :2] + bounds[:, 2:]) / 2
    shifts = np.zeros((len(centers), spec.samples, 2))
    if spec.jitter:
        for index, (kind, (x, y)) in enumerate(zip(kinds, centers.tolist(), strict=True)):
            draw = generator(seed, "jitter", name, kind, x, y)
            shifts[index] = draw.uniform(-spec.jitter, spec.jitter, (spec.samples, 2))
    return (centers[:, None] + (shifts - 0.5) * grid.edge).reshape(-1, 2)


def _free(rects: np.ndarray, geometries: Sequence[BaseGeometry]) -> np.ndarray:
    """Which rectangles touch no object, bool (n,)."""
    free = np.ones(len(rects), bool)
    free[shapely.STRtree(geometries).query(shapely.box(*rects.T), predicate="intersects")[0]] = False
    return free
