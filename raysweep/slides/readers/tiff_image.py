"""Which pages of a TIFF are the slide, what its metadata say of it, and how the picture is to be turned."""

import math
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openslide
import tifffile

from raysweep.errors import WorkError
from raysweep.slides.readers.by_openslide import OpenSlideReader
from raysweep.slides.readers.complete import check_page, check_tiff
from raysweep.slides.readers.ome import OmeImage, length_um, ome_images
from raysweep.slides.readers.open_tiff import all_pages
from raysweep.slides.readers.reader import NotMine
from raysweep.slides.readers.turned import orientation_of
from raysweep.slides.tissue.find import NotBrightfield

_LEAST_DOWN = 1.4  # of a level of a pyramid
_MUCH = 4  # times smaller in area: an overview, a macro or a label, not another picture
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType: a smaller version of another page, the transparency of one
_MOST_PRINTED_UM = (
    10.0  # of a stripped picture's pixel: coarser ones are printers' resolutions, of up to 2,400 per inch
)
_COLOURS = (0, 1, 2, 3, 6)  # photometric interpretations: greys, RGB, palettes and YCbCr
_COMPRESSIONS = (1, 5, 6, 7, 8, 32773, 32946, 50000)  # none, LZW, both JPEGs, both deflates, PackBits, zstd
_WITHOUT_PREDICTOR = (1, 6, 7, 32773)  # of these libtiff undoes none
_UNIT_UM = {2: 25_400.0, 3: 10_000.0}  # TIFF's ResolutionUnit
_APERIO_MPP = re.compile(r"\|\s*MPP\s*=\s*(\d*[.,]?\d+)")
_STACKS = {"Z": "a focus stack of {} planes", "T": "a series of {} points in time"}


@dataclass(frozen=True)
class TiffImage:
    """The slide in a TIFF.

    Attributes:
        levels: tifffile's pages, the largest first.
        mpp_xy: um per level-0 pixel along x and y, as stored; None when the file does not say.
        mpp_source: where that stands: `metadata` or `tiff resolution`.
        orientation: TIFF's tag 274, 1 to 8, of the stored pixels.
        plain: whether OpenSlide or Pillow, which take the first page for the slide, see the same.
        bits: that count of each sample, where metadata beside the TIFF's own say so.
    """

    levels: list[Any]
    mpp_xy: tuple[float, float] | None
    mpp_source: str
    orientation: int
    plain: bool
    bits: int | None = None


def find_image(path: Path, tiff: tifffile.TiffFile) -> TiffImage:
    """The slide in an Aperio, OME, ImageJ or other TIFF of no vendor: its largest image, on whatever page that is.

    Raises NotMine for vendors' formats, of which OpenSlide knows more than their pages; NotBrightfield for channels;
    WorkError, which says what they are, where pages are several images that are no pyramid, or parts are missing.
    """
    vendor = openslide.OpenSlide.detect_format(str(path))
    if vendor not in (None, "generic-tiff", "aperio"):
        raise NotMine(f"{vendor} slides are OpenSlide's")
    pages = all_pages(tiff.pages)
    if not pages:
        raise NotMine("a TIFF without pages")
    if not all(_area(page) for page in pages):
        raise WorkError("damaged: one of its pages has no pixels")
    if vendor == "aperio" and (seen := _as_openslide_sees_it(path, pages)) is not None:
        return seen
    series = max(tiff.series, key=lambda series: _area(series.keyframe))
    picture: Any = series.keyframe.aspage()
    size = _size(picture)
    ome = ome_images(tiff.ome_metadata) if tiff.ome_metadata is not None else []
    _check_alone(series, [page for page in pages if page.index != picture.index], size, ome)
    orientation = orientation_of(picture)
    about = _about(tiff, picture, size, ome)
    first = picture.index == 0 and not picture.is_subifd and not ome
    if first and _usual(picture) and orientation == 1 and about is None:
        if vendor == "generic-tiff" and (seen := _as_openslide_sees_it(path, pages)) is not None:
            return seen
        mpp = _tag_mpp(picture)
        if not picture.is_tiled and (mpp is None or max(mpp) > _MOST_PRINTED_UM):
            return TiffImage([picture], None, "metadata", 1, plain=True)
    check_tiff(tiff, path)
    levels = [picture, *_smaller(picture, pages, size)]
    for number, page in enumerate(levels):
        check_page(page, f"level {number}", path.stat().st_size)
    mpp_xy, source = about or (_tag_mpp(picture), "tiff resolution")
    bits = next((image.bits for image in ome if image.size == size), None)
    return TiffImage(levels, mpp_xy, source, orientation, plain=False, bits=bits)


def _as_openslide_sees_it(path: Path, pages: Sequence[Any]) -> TiffImage | None:
    """Its levels and resolution, which the pages' own tags do not always tell.

    None where it takes something else, such as a macro in tiles, for a level, or it is not clear which pages they are.
    """
    with suppress(NotMine):
        slide = OpenSlideReader(path)
        try:
            found = [[page for page in pages if page.is_tiled and _size(page) == size] for size in slide.level_sizes]
            full = slide.level_sizes[0]
            if any(len(same) != 1 for same in found) or not all(_is_alike(full, size) for size in slide.level_sizes):
                return None
            levels = [same[0] for same in found]
            if any(page.samplesperpixel != levels[0].samplesperpixel or page.subfiletype & _MASK for page in levels):
                return None
            orientation = orientation_of(levels[0])
            return TiffImage(levels, slide.mpp_xy, slide.mpp_source, orientation, plain=orientation == 1)
        finally:
            slide.close()
    return None


def _check_alone(series: Any, others: Iterable[Any], size: tuple[int, int], ome: Sequence[OmeImage]) -> None:
    """Raises unless the picture is one plane and what else the file holds is smaller, or shows it smaller."""
    planes = {axis: n for axis, n in zip(series.axes, series.shape, strict=True) if axis not in "YXS" and n > 1}
    if "C" in planes:
        names = next((image.channels for image in ome if image.size == size and any(image.channels)), ())
        told = f" ({', '.join(filter(None, names))})" if names else ""
        raise NotBrightfield(f"not brightfield: {planes['C']} channels, each an image of its own{told}")
    for axis, words in _STACKS.items():
        if axis in planes:
            raise WorkError(
                f"{words.format(planes[axis])}, no pyramid; write the one to be tiled into a file of its own"
            )
    if planes:
        raise WorkError(
            f"a TIFF of {math.prod(planes.values())} images of {size[0]} x {size[1]} pixels (channels, a focus stack "
            "or a series in time?), no pyramid: which of them is the slide is not clear; keep one"
        )
    for page in others:
        belongs = page.subfiletype & (_REDUCED | _MASK) or _is_level(size, _size(page))
        if _area(page) * _MUCH > size[0] * size[1] and not belongs:
            raise WorkError(
                f"a TIFF of several images, one of {size[0]} x {size[1]} pixels and page {page.index} of "
                f"{page.imagewidth} x {page.imagelength}: which of them is the slide is not clear; keep one"
            )


def _smaller(picture: Any, pages: Sequence[Any], size: tuple[int, int]) -> list[Any]:
    """Pages that show the picture smaller, the largest first: its own sub-pages, and later pages that say so.

    Aperio's do not say so, but are the only ones in tiles.
    """
    found = all_pages(picture.pages) if picture.subifds else []
    aperio = picture.is_svs
    found += [
        page
        for page in pages
        if page.index > picture.index and (page.is_tiled if aperio else page.subfiletype & _REDUCED)
    ]
    like = (picture.samplesperpixel, picture.dtype)
    levels: dict[tuple[int, int], Any] = {}
    for page in (page.aspage() for page in found):
        if _is_level(size, _size(page)) and (page.samplesperpixel, page.dtype) == like:
            levels.setdefault(_size(page), page)
    return [levels[key] for key in sorted(levels, reverse=True)]


def _is_level(full: tuple[int, int], level: tuple[int, int]) -> bool:
    """Whether a smaller picture has the shape of the full one, to a pixel each way."""
    return full[0] >= _LEAST_DOWN * level[0] and _is_alike(full, level)


def _is_alike(full: tuple[int, int], level: tuple[int, int]) -> bool:
    return abs(full[1] * level[0] / full[0] - level[1]) <= 1 + level[1] / level[0]


def _about(
    tiff: tifffile.TiffFile, picture: Any, size: tuple[int, int], ome: Sequence[OmeImage]
) -> tuple[tuple[float, float] | None, str] | None:
    """The mpp that OME's, ImageJ's or Aperio's metadata state, which count more than resolution tags; None: none."""
    if picture.is_svs:
        found = _APERIO_MPP.search(picture.description)
        mpp = float(found[1].replace(",", ".")) if found else 0.0
        return (mpp, mpp) if mpp > 0 else None, "metadata"  # its resolution tags mean nothing
    stated = {image.mpp_xy for image in ome if image.size == size and image.mpp_xy is not None}
    if len(stated) == 1:
        return stated.pop(), "metadata"
    unit = length_um(str((tiff.imagej_metadata or {}).get("unit", "")).encode().decode("unicode_escape", "ignore"))
    resolution = _resolution(picture)
    if unit is not None and resolution is not None:
        return (unit / resolution[0], unit / resolution[1]), "metadata"
    return None


def _tag_mpp(page: Any) -> tuple[float, float] | None:
    unit = page.tags.get(296)
    um, resolution = _UNIT_UM.get(unit.value if unit else 2), _resolution(page)
    return None if um is None or resolution is None else (um / resolution[0], um / resolution[1])


def _resolution(page: Any) -> tuple[float, float] | None:
    """Pixels per unit along x and y; None where the tags are missing or 0."""
    found = []
    for tag in (page.tags.get(282), page.tags.get(283)):
        value = None if tag is None else tag.value
        pair = (*(value if isinstance(value, tuple) else (value,)), 1)[:2]  # not every writer makes fractions of them
        if not all(isinstance(number, int | float) and number > 0 for number in pair):
            return None
        found.append(pair[0] / pair[1])
    return (found[0], found[1]) if all(map(math.isfinite, found)) else None


def _usual(page: Any) -> bool:
    """Whether it has colours or one grey, in 8 bits, in a form that OpenSlide and Pillow read rightly."""
    grey = int(page.photometric) in (0, 1)
    extra = [int(kind) for kind in page.extrasamples]
    return (
        page.bitspersample == 8
        and page.sampleformat == 1
        and not (grey and page.samplesperpixel > 1)
        and int(page.photometric) in _COLOURS
        and int(page.compression) in _COMPRESSIONS
        and (page.predictor == 1 or int(page.compression) not in _WITHOUT_PREDICTOR)
        and (not extra or (len(extra) == 1 and extra[0] != 0))  # libtiff takes any fourth sample for a transparency
    )


def _size(page: Any) -> tuple[int, int]:
    return int(page.imagewidth), int(page.imagelength)


def _area(page: Any) -> int:
    return int(page.imagewidth) * int(page.imagelength)
