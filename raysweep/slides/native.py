"""Patches that are a slide's own JPEG tiles: nothing is decoded, nothing is lost."""

from collections.abc import Iterator

from raysweep.errors import WorkError
from raysweep.slides.places import Places
from raysweep.slides.readers.jpeg_tiff import JpegTiffReader
from raysweep.slides.slide import Slide
from raysweep.slides.spec import PatchSetSpec


def may_copy(spec: PatchSetSpec) -> bool:
    """Whether the patches of a set could be native tiles, if all its slides have tiles of the right size."""
    return (
        spec.mpp == "native"
        and spec.stride in (None, 1.0)
        and spec.coords is None
        and spec.labels.source != "points"
        and spec.icc == "keep"
    )


def native_tile(slide: Slide) -> tuple[int, int] | None:
    """(width, height) of the JPEG tiles of the slide's level 0, if it has such."""
    return slide.reader.tile_grid(0)[0] if isinstance(slide.reader, JpegTiffReader) else None


def native_tiles(slide: Slide, places: Places, px: int) -> Iterator[bytes]:
    """The JPEG of the tile at each place. Raises WorkError unless tiles are px x px and each place is one of them."""
    reader = slide.reader
    if not isinstance(reader, JpegTiffReader):
        raise WorkError("the slide has no JPEG tiles")
    (width, height), columns = reader.tile_grid(0)
    if (width, height) != (px, px):
        raise WorkError(f"the slide's JPEG tiles are {width} x {height} pixels and patches {px} x {px}")
    tiles = []
    for x, y in places.corner.tolist():
        if x % px or y % px:
            raise WorkError(f"no JPEG tile begins at x {x}, y {y} of the slide")
        tiles.append(y // px * columns + x // px)
    reader.expect(0, dict.fromkeys(tiles))
    for tile in tiles:
        yield reader.tile_jpeg(0, tile)
