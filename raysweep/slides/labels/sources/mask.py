"""Labels from the pixels of a mask slide."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from raysweep.slides.grid import Grid
from raysweep.slides.labels.labelled import Labelled
from raysweep.slides.labels.pieces import claim
from raysweep.slides.labels.spec import LabelSpec
from raysweep.slides.labels.values import ValueMap
from raysweep.slides.places import Places
from raysweep.slides.readers.mask_image import MaskSlide

_EXACT_PX = 64  # patches with fewer mask pixels than this along an edge are sampled more finely than the mask
_BLOCK_PX = 4096  # of the mask: places are visited by squares of this, so that what is decoded stays at hand


def label(
    spec: LabelSpec,
    slide: Labelled,
    grid: Grid,
    places: Places,
    classes: Sequence[str],
    seed: int,
    dropped: Counter[str],
) -> Places:
    """Every place with the class that claims it by the rule; fractions are of all pixels, those of no class too.

    Every pixel of the mask on the place counts, its edges rounded to whole ones where it has at least 64 of them.
    """
    if slide.mask is None or not len(places):  # `absent: background`
        return places
    names = [name for name in spec.value_classes() if name != spec.background]
    ids = np.array([classes.index(name) for name in names], np.int64)
    meanings = ValueMap(spec, slide.columns, classes, slide.mask.path)
    rects = places.rects(grid.downsample)
    scale = np.array(slide.mask.size) / grid.size
    fractions = np.zeros((len(places), len(ids)))
    for index in _by_block(rects[:, :2] * scale):
        values, counts = (
            _center(slide.mask, rects[index]) if spec.rule == "center" else _counts(slide.mask, rects[index], scale)
        )
        per_class = np.bincount(meanings.ids(values), weights=counts, minlength=256)
        fractions[index] = per_class[ids] / counts.sum()
    return places.but(label=claim(spec, ids, fractions))


def _by_block(corners: np.ndarray) -> list[int]:
    """Indices of the places, square by square of the mask."""
    block = (corners // _BLOCK_PX).astype(np.int64)
    return np.lexsort((corners[:, 0], corners[:, 1], block[:, 0], block[:, 1])).tolist()


def _center(mask: MaskSlide, rect: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return mask.values(rect, 1, 1).ravel(), np.ones(1)


def _counts(mask: MaskSlide, rect: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values on a place and how often each occurs."""
    low, high = rect[:2] * scale, rect[2:] * scale
    if (high - low >= _EXACT_PX).all():
        low, high = np.rint(low), np.rint(high)
        n = (high - low).astype(int)
        rect = np.concatenate([low / scale, high / scale])
    else:
        whole = np.maximum(1, np.ceil(high - low - 1e-6))
        n = (whole * np.ceil(_EXACT_PX / whole)).astype(int)
    values = mask.values(rect, int(n[0]), int(n[1]))
    lowest, highest = int(values.min()), int(values.max())
    if lowest == highest:  # most patches of most masks, and much faster
        return np.array([lowest]), np.array([float(values.size)])
    counts = np.bincount((values - lowest).ravel())
    found = np.flatnonzero(counts)
    return found + lowest, counts[found].astype(np.float64)
