"""The mask patches of a slide."""

from collections.abc import Sequence

import imagecodecs
import numpy as np
import shapely

from raysweep.patches.schema import NO_CLASS
from raysweep.slides.annotations.rasterize import rasterize
from raysweep.slides.labels.labelled import Labelled
from raysweep.slides.labels.objects import Regions
from raysweep.slides.labels.pieces import pieces
from raysweep.slides.labels.spec import LabelSpec
from raysweep.slides.labels.values import ValueMap

_PNG_LEVEL = 5


class MaskPatches:
    """The class of each pixel of patches, from the mask slide or the annotated areas of one slide."""

    def __init__(self, spec: LabelSpec, slide: Labelled, classes: Sequence[str]) -> None:
        """`classes` are those of the masks (`mask_classes_of`) in the order of their ids.

        Raises WorkError when annotations or values mean nothing.
        """
        self._mask = slide.mask if spec.values else None
        has_background = spec.background is not None and spec.background in classes
        self._rest = classes.index(str(spec.background)) if has_background else NO_CLASS
        self._areas: list[tuple[int, np.ndarray, shapely.STRtree]] = []
        if self._mask is not None:
            self._meanings = ValueMap(spec, slide.columns, classes, self._mask.path)
        elif not spec.values:
            areas = Regions.of(spec, slide, classes).areas
            # The first class of the study is painted last, as in `claim` it wins.
            order = [classes.index(name) for name in reversed(spec.classes)]
            for home in order:
                if home in areas and home != self._rest:
                    parts = pieces(areas[home])
                    self._areas.append((home, parts, shapely.STRtree(parts)))

    def ids(self, rect: np.ndarray, px: int) -> np.ndarray:
        """The classes of a patch's pixels, uint8 (px, px), 255 where there is none.

        Each is that of the pixel's centre. `rect` is the patch in level-0 pixels: left, top, right, bottom, float (4,).

        Raises WorkError when the mask cannot be read or holds a value that no rule names.
        """
        if self._mask is not None:
            return self._meanings.ids(self._mask.values(rect, px, px))
        ids = np.full((px, px), self._rest, np.uint8)
        left, top, right, bottom = (float(edge) for edge in rect)
        scale = (right - left) / px, (bottom - top) / px
        for home, parts, tree in self._areas:
            near = parts[tree.query(shapely.box(left, top, right, bottom))]
            ids[rasterize(near, (px, px), scale, (left, top))] = home
        return ids

    def png(self, rect: np.ndarray, px: int) -> bytes:
        """The same as an 8-bit grey PNG."""
        return bytes(imagecodecs.png_encode(self.ids(rect, px), level=_PNG_LEVEL))
