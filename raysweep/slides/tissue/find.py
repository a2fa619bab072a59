"""Where the usable tissue is on a thumbnail."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import binary_dilation

from raysweep.slides.tissue.artefacts import bubble, edge, fold, pen
from raysweep.slides.tissue.methods import GIVEN, find_method
from raysweep.slides.tissue.morphology import drop_small, fill_holes
from raysweep.slides.tissue.picture import Picture
from raysweep.slides.tissue.spec import TissueSpec
from raysweep.slides.tissue.stains import find_stain

_REGION_UM2, _HOLE_UM2 = 1_000.0, 10_000.0  # the defaults that `TissueSpec` explains
_WIDE_UM, _THIN_UM = 16.0, 8.0  # pixels in which strokes and folds, and lines, are looked for: cells do not show
_DARK = 60  # HSV value, of 255
_LIT = 50  # of 255: what is not dark lets all colours through on a brightfield slide, one or two in fluorescence


class NotBrightfield(Exception):
    """Most of the slide is dark and the rest is not stained tissue on glass."""


@dataclass(frozen=True)
class Tissue:
    """What a thumbnail shows, each array bool (h, w).

    Attributes:
        mask: usable tissue.
        excluded: what was cut out of the tissue, by kind: `pen`, `fold`, `bubble`, `edge`. One pixel may be of two
            kinds; a kind that was not looked for has no entry.
    """

    mask: np.ndarray
    excluded: dict[str, np.ndarray]


def find_tissue(
    thumbnail: np.ndarray,
    um_per_px: tuple[float, float],
    spec: TissueSpec,
    stain: str,
    *,
    given: np.ndarray | None = None,
) -> Tissue:
    """The tissue of a slide.

    Args:
        thumbnail: the whole slide, uint8 (h, w, 3) RGB, white where it has no pixels.
        um_per_px: of the thumbnail, along x and y.
        spec: how to find it.
        stain: name of the slide's stain.
        given: bool (h, w), the tissue itself for the methods `mask` and `annotations`.

    First the method's mask, then its holes and small regions, then what is no tissue is cut out of it. Raises
    NotBrightfield for a dark background unless the spec asks for it or for everything, RequestError for an unknown
    stain.
    """
    picture = Picture(thumbnail, um_per_px, find_stain(stain), spec.dark_background)
    if not spec.dark_background and spec.method != "all" and _is_dark(picture):
        raise NotBrightfield("not brightfield")
    excluded = _artefacts(picture, spec)
    if "pen" in excluded:
        picture = replace(picture, pen=excluded["pen"])
    if spec.method in GIVEN:
        if given is None or given.shape != picture.shape:
            raise ValueError(f"the method {spec.method} needs a mask of {picture.shape[1]} x {picture.shape[0]} pixels")
        tissue = given.astype(bool)
    else:
        tissue = find_method(spec.method)(picture)
    tissue = _tidy(tissue, um_per_px, spec)
    if "fold" in spec.excluded and picture.stain.folds:
        excluded["fold"] = _folds(picture, tissue & ~_any(excluded, picture.shape))
    usable = tissue & ~_any(excluded, picture.shape)
    return Tissue(usable, {kind: found & tissue for kind, found in excluded.items()})


def _is_dark(picture: Picture) -> bool:
    """Whether most of what the slide shows is dark, and that is no padding beside stained tissue on glass.

    A white margin says nothing, nor do the pixels of the thumbnail in which it is mixed with what is beside it.
    """
    dark = picture.value < _DARK
    lit = ~dark & ~picture.white
    if dark.sum() <= lit.sum():
        return False
    if not lit.any():
        return not picture.white.any()
    inside = lit & ~binary_dilation(picture.white, np.ones((5, 5), bool))
    return bool(np.median(picture.least[inside if inside.any() else lit]) < _LIT)


def _tidy(tissue: np.ndarray, um_per_px: tuple[float, float], spec: TissueSpec) -> np.ndarray:
    computed = spec.method not in (*GIVEN, "all")
    hole = spec.max_hole_um2 if spec.max_hole_um2 is not None else _HOLE_UM2 * computed
    region = spec.min_region_um2 if spec.min_region_um2 is not None else _REGION_UM2 * computed
    return drop_small(fill_holes(tissue, um_per_px, hole), um_per_px, region)


def _artefacts(picture: Picture, spec: TissueSpec) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for kind, find, um in (
        ("pen", pen.find, _WIDE_UM),
        ("bubble", bubble.find, _THIN_UM),
        ("edge", edge.find, _THIN_UM),
    ):
        if kind in spec.excluded:
            coarse, factor = picture.coarse(um)
            found[kind] = picture.fine(find(coarse), factor)
    return found


def _folds(picture: Picture, tissue: np.ndarray) -> np.ndarray:
    coarse, factor = picture.coarse(_WIDE_UM)
    return picture.fine(fold.find(coarse, _at(tissue, factor // 2, factor, coarse.shape)), factor)


def _at(mask: np.ndarray, first: int, step: int, shape: tuple[int, int]) -> np.ndarray:
    """The mask's pixels nearest to the centres of a coarse picture's."""
    rows, columns = (
        np.minimum(first + np.arange(n) * step, size - 1) for n, size in zip(shape, mask.shape, strict=True)
    )
    return mask[np.ix_(rows, columns)]


def _any(masks: dict[str, np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    return np.any(list(masks.values()), axis=0) if masks else np.zeros(shape, bool)
