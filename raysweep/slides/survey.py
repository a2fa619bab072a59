"""The first look at a slide: its resolution, its tissue, which patches to keep, and the cuts to read them in."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from raysweep.errors import WorkError
from raysweep.randomness import stable_hash
from raysweep.slides.given_places import read_coordinates
from raysweep.slides.grid import Grid, TooCoarse, lay_grid
from raysweep.slides.labels.choose import choose
from raysweep.slides.outcomes import words_of
from raysweep.slides.places import Places, into_cuts
from raysweep.slides.sidecars import Sidecars
from raysweep.slides.slide import Slide
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.tissue.find import NotBrightfield, Tissue, find_tissue
from raysweep.slides.tissue.morphology import fractions

_THUMBNAIL_PX = (512, 3072)  # the longest edge is within these, and no more than the slide has
_CELL_PX = 16  # of the thumbnail, wished for in a patch: its tissue is then known to half a per cent
_MOST_GLIMPSED = 2**26  # pixels that are read to show a slide that is not tiled
_PLACES_AT_ONCE = 2**18  # that are measured
_MOST_PLACES = 2**25  # squares of a grid: more than any slide holds


@dataclass(frozen=True)
class Survey:
    """What is known of a slide before its patches are read. `reason` says why there is nothing to read, if so."""

    size: tuple[int, int]
    mpp: float
    mpp_source: str
    reader: str
    icc: bool  # whether the file has a colour profile
    origin: tuple[int, int]  # level-0 pixel from which QuPath counts
    reason: str | None = None
    grid: Grid | None = None
    n_tissue: int = 0  # places that hold enough tissue
    tissue_area_um2: float = 0.0
    dropped: dict[str, int] = field(default_factory=dict)  # places with enough tissue that are not read, by reason
    cuts: list[Places] = field(default_factory=list)
    thumbnail: np.ndarray | None = None
    tissue: Tissue | None = None


def survey(
    slide: Slide, sidecars: Sidecars, spec: PatchSetSpec, classes: Sequence[str], seed: int, *, cut_mpx: int
) -> Survey:
    """Look at a whole slide. Raises WorkError when it or a sidecar is damaged.

    Memory grows with the places that are kept alone, by some 150 bytes for each.

    Args:
        sidecars: what else is known of the slide.
        classes: names of the labels, in the order of their ids.
        cut_mpx: megapixels of patches in a cut, at most.
    """
    known: dict[str, Any] = {
        "size": slide.size,
        "mpp": slide.mpp,
        "mpp_source": slide.mpp_source,
        "reader": slide.reader.name,
        "icc": slide.reader.icc is not None,
        "origin": slide.reader.origin,
    }
    try:
        grid = lay_grid(spec, slide.mpp_xy, slide.level_sizes, slide.downsamples)
    except TooCoarse as error:
        return Survey(**known, reason=str(error), thumbnail=_glimpse(slide))
    known["grid"] = grid
    if grid.columns * grid.rows == 0 and not spec.labels.box:
        return Survey(**known, reason="smaller than one patch", thumbnail=_glimpse(slide))
    if grid.columns * grid.rows > _MOST_PLACES:
        raise WorkError(f"{grid.columns} x {grid.rows} patches on one slide: no slide is that large")

    known["thumbnail"] = thumbnail = slide.thumbnail(_thumbnail_px(slide.size, grid))
    height, width = thumbnail.shape[:2]
    scale = slide.size[0] / width, slide.size[1] / height
    um_per_px = scale[0] * slide.mpp_xy[0], scale[1] * slide.mpp_xy[1]
    try:
        given = sidecars.tissue(slide, (height, width), spec.tissue)
        tissue = find_tissue(thumbnail, um_per_px, spec.tissue, sidecars.entry.stain, given=given)
    except NotBrightfield as error:
        return Survey(**known, reason=str(error))
    known |= {
        "tissue_area_um2": float(tissue.mask.sum() * um_per_px[0] * um_per_px[1]),
        "tissue": tissue,
    }

    dropped: Counter[str] = Counter()
    if sidecars.coords is None:
        blocks = (_measured(block, grid, tissue.mask, scale) for block in grid.blocks(_PLACES_AT_ONCE))
        places = Places.join([block.pick(block.tissue >= spec.min_tissue) for block in blocks])
    else:
        places = _measured(_given_places(slide, sidecars.coords, grid, dropped), grid, tissue.mask, scale)
    known["n_tissue"] = len(places)
    if spec.labels.source != "slide" or spec.labels.reads_masks:
        with sidecars.labelled(slide, spec.labels) as labelled:
            if spec.labels.source == "slide":  # its label is written when slides are merged
                labelled = replace(labelled, label=None)
            choice = choose(spec.labels, labelled, grid, places, classes=classes, seed=seed)
        places = choice.places
        dropped.update(choice.dropped)
    caps = [cap for cap in (spec.per_slide, spec.labels.per_class if spec.labels.source == "slide" else None) if cap]
    kept = _cap(places, sidecars.entry.name, min(caps, default=None), seed)
    dropped["cap of the slide"] += len(places) - len(kept)
    known["dropped"] = {reason: n for reason, n in sorted(dropped.items()) if n}
    if len(kept) == 0:
        told = words_of(dropped)
        return Survey(**known, reason=f"no patch is left ({told})" if told else "no tissue")
    return Survey(**known, cuts=into_cuts(kept, grid.downsample, grid.step, spec.px, cut_mpx))


def _measured(places: Places, grid: Grid, tissue: np.ndarray, scale: tuple[float, float]) -> Places:
    """The places with their fractions of tissue; `scale` is level-0 pixels per pixel of the mask along x and y."""
    return places.but(tissue=fractions(tissue, places.rects(grid.downsample) / (scale * 2)))


def _given_places(slide: Slide, coords: Path, grid: Grid, dropped: Counter[str]) -> Places:
    """Places from a file of coordinates, all of those that lie inside the slide, tissue or not."""
    found = read_coordinates(coords, grid, slide.downsamples, slide.mpp)
    places, inside = grid.at(found.corner[:, 0], found.corner[:, 1])
    dropped["over the edge of the slide"] += int((~inside).sum())
    dropped["named twice"] += found.n_repeated
    return places


def _glimpse(slide: Slide) -> np.ndarray | None:
    """A small picture of a slide that is not tiled; None where it would cost more than a moment, or is damaged."""
    px = min(max(slide.size), _THUMBNAIL_PX[0])
    if min(width * height for width, height in slide.level_sizes if max(width, height) >= px) > _MOST_GLIMPSED:
        return None
    with suppress(WorkError):
        return slide.thumbnail(px)
    return None


def _thumbnail_px(size: tuple[int, int], grid: Grid) -> int:
    wished = _CELL_PX * max(size) / min(grid.edge)
    return min(max(size), round(min(max(wished, _THUMBNAIL_PX[0]), _THUMBNAIL_PX[1])))


def _cap(places: Places, name: str, most: int | None, seed: int) -> Places:
    """At most `most` places, those of the lowest hash: not the shuffle key, or shards would fill unevenly."""
    if most is None or len(places) <= most:
        return places
    drawn = [stable_hash(seed, "cap", name, *corner) for corner in places.corner.tolist()]
    return places.pick(np.sort(np.lexsort((np.arange(len(drawn)), np.array(drawn, np.uint64)))[:most]))
