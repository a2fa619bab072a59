"""What is known of a slide beside its pixels: its row of the slide table, annotations, mask and coordinates."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import shapely

from raysweep.errors import WorkError
from raysweep.slides.annotations.formats import read_annotations
from raysweep.slides.annotations.rasterize import rasterize
from raysweep.slides.annotations.shapes import Shape, n_outside
from raysweep.slides.far import far_reader
from raysweep.slides.fetch import fetched_together
from raysweep.slides.labels.classes import mask_classes_of
from raysweep.slides.labels.labelled import Labelled
from raysweep.slides.labels.mask_patches import MaskPatches
from raysweep.slides.labels.spec import LabelSpec
from raysweep.slides.readers.jpeg_tiff import JpegTiffReader
from raysweep.slides.readers.mask_image import MaskSlide
from raysweep.slides.slide import Slide
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.entries import SlideEntry
from raysweep.slides.tissue.spec import TissueSpec

_QUPATH = (".geojson", ".json")


@lru_cache(1)  # a slide is read in many cuts, and 50,000 nuclei take seconds to parse
def _annotations(path: Path, stamp: tuple[int, int]) -> tuple[Shape, ...]:
    return tuple(read_annotations(path))


def _stamp(path: Path) -> tuple[int, int]:
    """What changes with a file."""
    stat = path.stat() if path.exists() else None
    return (stat.st_mtime_ns, stat.st_size) if stat else (0, 0)


@dataclass(frozen=True)
class Sidecars:
    """A slide's row of the slide table and its files on this machine, which are read when they are asked for.

    path: the slide; where `reader` reads it from afar, as it was given.
    """

    entry: SlideEntry
    path: Path
    mask: Path | None
    annotations: Path | None
    coords: Path | None
    reader: JpegTiffReader | None = None

    @classmethod
    @contextmanager
    def of(cls, entry: SlideEntry, fetch_bytes: int, *, by_parts: bool = False) -> Iterator["Sidecars"]:
        """Fetch what is not on this machine, of which at most `fetch_bytes` are kept here. Raises WorkError.

        by_parts: a slide that can be read so stays where it is, and only what is asked for is fetched.
        """
        reader = far_reader(entry.path) if by_parts else None
        beside = (entry.mask, entry.annotations, entry.coords)
        given = [path for path in (None if reader else entry.path, *beside) if path is not None]
        with ExitStack() as stack:
            if reader:
                stack.callback(reader.close)
            left = iter(stack.enter_context(fetched_together(given, limit_bytes=fetch_bytes)))
            path = Path(entry.path) if reader else next(left)
            mask, annotations, coords = (None if one is None else next(left) for one in beside)
            for one in (mask, annotations, coords):
                if one is not None and one.exists() and not one.is_file():  # a pipe would be waited for
                    raise WorkError(f"{one}: is no file")
            yield cls(entry, path, mask, annotations, coords, reader)

    def slide(self, spec: PatchSetSpec) -> Slide:
        """Open it. Raises WorkError."""
        return Slide(self.path, self.entry.mpp, spec.reader, fallback_mpp=spec.slide_mpp, opened=self.reader)

    def shapes(self, slide: Slide) -> list[Shape]:
        """The annotations, in level-0 pixels. Raises WorkError where all of them lie beside the slide."""
        if self.annotations is None:
            raise WorkError("the slide table names no annotations for this slide")
        shapes = list(_annotations(self.annotations, _stamp(self.annotations)))
        if self.annotations.suffix.lower() in _QUPATH and slide.reader.origin != (0, 0):
            # QuPath counts from the corner of the scanned area, OpenSlide from that of the whole stage.
            shapes = [Shape(s.name, shapely.transform(s.geometry, lambda xy: xy + slide.reader.origin)) for s in shapes]
        beside = n_outside([s.geometry for s in shapes], slide.size)
        if beside and beside == sum(not s.geometry.is_empty for s in shapes):
            raise WorkError(
                f"annotations {self.annotations}: none of the {beside} lies on the slide of {slide.size[0]} x "
                f"{slide.size[1]} pixels; coordinates are pixels of its level 0"
            )
        return shapes

    def tissue(self, slide: Slide, shape: tuple[int, int], spec: TissueSpec) -> np.ndarray | None:
        """The tissue that a mask image or annotations give, bool of `shape` (h, w) over the whole slide; else None.

        For a mask: pixels that are non-zero in any channel.
        """
        if spec.method == "annotations":
            wanted = [s for s in self.shapes(slide) if not spec.annotations or s.name in spec.annotations]
            if not wanted:
                raise WorkError("no annotation of this slide is tissue; name some in tissue.annotations")
            scale = slide.size[0] / shape[1], slide.size[1] / shape[0]
            return rasterize([s.geometry for s in wanted], shape, scale)
        if spec.method == "mask":
            if self.mask is None:
                raise WorkError("the slide table names no mask for this slide")
            whole = np.array([0.0, 0.0, *slide.size])
            with MaskSlide(self.mask, slide.size) as mask:
                tissue = np.asarray(mask.values(whole, shape[1], shape[0]) != 0)
                others = mask.colours[1:]
            for colour in others:
                with MaskSlide(self.mask, slide.size, colour) as mask:
                    tissue |= mask.values(whole, shape[1], shape[0]) != 0
            return tissue
        return None

    @contextmanager
    def labelled(self, slide: Slide, spec: LabelSpec) -> Iterator[Labelled]:
        """The slide with what may label it."""
        with ExitStack() as stack:
            mask = None
            if spec.reads_masks and self.mask is not None:
                mask = stack.enter_context(MaskSlide(self.mask, slide.size, spec.channel))
            shapes = self.shapes(slide) if spec.reads_annotations and self.annotations is not None else None
            entry = self.entry
            yield Labelled(name=entry.name, label=entry.label, columns=entry.columns, shapes=shapes, mask=mask)

    @contextmanager
    def mask_patches(self, slide: Slide, spec: PatchSetSpec) -> Iterator[Callable[[np.ndarray], bytes] | None]:
        """What gives the PNG of the mask of a patch for its edges in level-0 pixels; None where none is stored."""
        if not spec.labels.store_mask:
            yield None
            return
        with self.labelled(slide, spec.labels) as labelled:
            patches = MaskPatches(spec.labels, labelled, mask_classes_of(spec.labels))
            yield lambda rect: patches.png(rect, spec.px)
