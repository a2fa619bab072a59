"""The patches of one region of a slide: each pixel decoded once, resized once, encoded, sorted by key."""

import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
from PIL import Image, ImageCms

from raysweep.patches.decode import encode_jpeg
from raysweep.randomness import stable_hash
from raysweep.slides.grid import Grid
from raysweep.slides.native import native_tiles
from raysweep.slides.places import Places
from raysweep.slides.resample import resample
from raysweep.slides.slide import Slide
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.spool import PIECE_SCHEMA
from raysweep.slides.tissue.flaw import flaw


@dataclass(frozen=True)
class Region:
    """Rows of `PIECE_SCHEMA` by key, and how many patches were rejected for which reason."""

    rows: pa.Table
    rejected: dict[str, int]


def read_region(
    slide: Slide,
    name: str,
    places: Places,
    grid: Grid,
    spec: PatchSetSpec,
    seed: int,
    *,
    stain: str = "he",
    copy: bool = False,
    mask: Callable[[np.ndarray], bytes] | None = None,
) -> Region:
    """The patches of some places. Raises WorkError when the slide is damaged there.

    Args:
        name: of the slide, part of the shuffle key.
        copy: the slide's own JPEG tiles become the patches; none is rejected.
        mask: gives the stored mask for edges in level-0 pixels, float64 (4,).
    """
    rects = places.rects(grid.downsample)
    mpp = slide.mpp if spec.patch_mpp is None else spec.patch_mpp
    rejected: Counter[str] = Counter()
    kept: list[int] = []
    images: list[bytes] = []
    masks: list[bytes | None] = []
    pictures: Iterator[tuple[np.ndarray | None, Callable[[], bytes]]]
    pictures = _copied(slide, places) if copy else _encoded(slide, places, grid, spec)
    for index, (pixels, encode) in enumerate(pictures):
        reason = None if pixels is None else flaw(pixels, mpp, stain, spec.tissue.rejected)
        if reason is not None:
            rejected[reason] += 1
            continue
        kept.append(index)
        images.append(encode())
        masks.append(None if mask is None else mask(rects[index]))
    places = places.pick(np.array(kept, int))
    x, y = places.corner.T
    rows = pa.table(
        [
            pa.array([name] * len(kept), pa.string()),
            x.astype(np.int32),
            y.astype(np.int32),
            places.tissue,
            [stable_hash(name, *corner, seed) for corner in places.corner.tolist()],
            pa.array([None if label < 0 else label for label in places.label.tolist()], pa.int32()),
            pa.array(images, pa.binary()),
            pa.array(masks, pa.binary()),
        ],
        schema=PIECE_SCHEMA,
    )
    rows = rows.sort_by([("key", "ascending"), ("x", "ascending"), ("y", "ascending")])
    return Region(rows, dict(sorted(rejected.items())))


def _encoded(
    slide: Slide, places: Places, grid: Grid, spec: PatchSetSpec
) -> Iterator[tuple[np.ndarray | None, Callable[[], bytes]]]:
    """The pixels of each patch, uint8 (px, px, 3), and what encodes them; both only until the next one."""
    to_srgb = _profile(slide.reader.icc) if spec.icc == "srgb" else None
    for patch in resample(slide.crops(grid.level, places.box), spec.px):
        if to_srgb is not None:
            patch = np.asarray(ImageCms.applyTransform(Image.fromarray(patch), to_srgb))
        yield patch, lambda patch=patch: encode_jpeg(patch, spec.quality)  # type: ignore[misc]


def _copied(slide: Slide, places: Places) -> Iterator[tuple[None, Callable[[], bytes]]]:
    """The same of tiles that are stored as they are: nothing is decoded, so nothing can be judged."""
    for data in native_tiles(slide, places):
        yield None, lambda data=data: data  # type: ignore[misc]


@cache
def _profile(icc: bytes | None) -> ImageCms.ImageCmsTransform | None:
    """What turns a slide's colours into sRGB, perceptually; None when it has no profile."""
    if icc is None:
        return None
    return ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB"), "RGB", "RGB"
    )
