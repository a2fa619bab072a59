"""Patches around annotated objects."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import shapely

from raysweep.errors import WorkError
from raysweep.randomness import generator
from raysweep.slides.grid import Grid
from raysweep.slides.labels.labelled import Labelled
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
    """Places around each object with its class, then those of the grid that touch no annotation, without one.

    An object is a point or an area; its centre is that of its bounding box. Shifts are a function of the seed and the
    object alone. A place that reaches over the slide's edge is moved inside; it is left out where it does not fit or
    the object's centre is not on it. Of several that are the same all but the first are left out.
    """
    homes, geometries = [], []
    for home, geometry in objects(spec, slide, classes):
        if home is not None and (geometry.area > 0 or geometry.geom_type == "Point"):
            homes.append(home)
            geometries.append(geometry)
        else:
            dropped["annotations without area"] += 1
    if spec.box and any(geometry.geom_type == "Point" for geometry in geometries):
        raise WorkError(
            f"annotations {slide.columns.get('annotations') or 'of the slide'}: a point has no bounding box; "
            "leave labels.box out"
        )
    around = _around(spec, slide.name, grid, homes, shapely.bounds(geometries).reshape(-1, 4), classes, seed, dropped)
    both = Places.join([around, _free(slide, grid, places, dropped)])
    # What a key is made of: the corner, and the edge where objects have their own.
    unlike = np.hstack([both.corner, both.box[:, 2:3] - both.box[:, :1]])[:, : 3 if spec.box else 2]
    _, first = np.unique(unlike, axis=0, return_index=True)
    dropped["same place"] += len(both) - len(first)
    return both.pick(np.sort(first))


def _around(
    spec: LabelSpec,
    name: str,
    grid: Grid,
    homes: Sequence[int],
    bounds: np.ndarray,
    classes: Sequence[str],
    seed: int,
    dropped: Counter[str],
) -> Places:
    """The places of objects of the classes `homes` with bounding boxes `bounds`, float (n, 4)."""
    centers = ((bounds[:, :2] + bounds[:, 2:]) / 2).repeat(spec.samples, axis=0)
    if spec.box:
        edges = _edges_around(bounds, grid)
        corners = np.floor(centers - edges / 2 + 0.5)  # whole pixels: rounding makes no edge longer than the other
    else:
        edges = np.tile(grid.edge, (len(centers), 1))
        kinds = [classes[home] for home in homes]
        corners = centers + (_shifts(spec, name, kinds, centers, seed) - 0.5) * edges
    corners = grid.moved_inside(corners, edges)
    seen = ((corners <= centers) & (centers < corners + edges)).all(axis=1)
    fine = edges.min(axis=1) >= grid.least_edge
    around, inside = grid.at(*corners[seen & fine].T, *edges[seen & fine].T)
    dropped["outside the slide"] += int((~seen).sum() + (~inside).sum())
    dropped[f"objects smaller than {grid.least_edge:.4g} pixels"] += int((seen & ~fine).sum())
    return around.but(label=np.array(homes, np.int32).repeat(spec.samples)[seen & fine][inside])


def _edges_around(bounds: np.ndarray, grid: Grid) -> np.ndarray:
    """Width and height of the square whose edge is the longer one of a box; whole level-0 pixels, float (n, 2)."""
    height_of_width = grid.edge[1] / grid.edge[0]
    width = np.maximum(bounds[:, 2] - bounds[:, 0], (bounds[:, 3] - bounds[:, 1]) / height_of_width)
    width = np.ceil(width - 1e-6)
    return np.stack([width, np.maximum(1, np.round(width * height_of_width))], axis=1)


def _shifts(spec: LabelSpec, name: str, kinds: Sequence[str], centers: np.ndarray, seed: int) -> np.ndarray:
    """How far each sample of each object lies from its center, in edges, float (objects * samples, 2)."""
    shifts = np.zeros((len(kinds), spec.samples, 2))
    if spec.jitter:
        for index, (kind, (x, y)) in enumerate(zip(kinds, centers[:: spec.samples].tolist(), strict=True)):
            draw = generator(seed, "jitter", name, kind, x, y)
            shifts[index] = draw.uniform(-spec.jitter, spec.jitter, (spec.samples, 2))
    return shifts.reshape(-1, 2)


def _free(slide: Labelled, grid: Grid, places: Places, dropped: Counter[str]) -> Places:
    """Those places of the grid that touch no annotation, whatever its class."""
    free = np.ones(len(places), bool)
    drawn = shapely.STRtree([shape.geometry for shape in slide.shapes or ()])
    free[drawn.query(shapely.box(*places.rects(grid.downsample).T), predicate="intersects")[0]] = False
    dropped["on an object"] += int((~free).sum())
    if min(grid.edge) < grid.least_edge:
        dropped[f"squares of the grid smaller than {grid.least_edge:.4g} pixels"] += int(free.sum())
        free[:] = False
    return places.pick(free)
