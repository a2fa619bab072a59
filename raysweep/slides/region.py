"""The patches of one region of a slide: each pixel decoded once, resized once, encoded, sorted by key."""

import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
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
from raysweep.slides.tissue.flaws import flaws

_TOGETHER, _TOGETHER_BYTES = 32, 2**22


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
    rejected: Counter[str] = Counter()
    kept: list[int] = []
    images: list[bytes] = []
    masks: list[bytes | None] = []
    found: Iterator[bytes | str]
    found = native_tiles(slide, places) if copy else _encoded(slide, places, grid, spec, stain)
    for index, image in enumerate(found):
        if isinstance(image, str):
            rejected[image] += 1
            continue
        kept.append(index)
        images.append(image)
        masks.append(None if mask is None else mask(rects[index]))
    corners = places.corner[kept].tolist()
    keys = np.array([stable_hash(name, x, y, seed) for x, y in corners], np.uint64)
    x, y = np.array(corners, np.int32).reshape(-1, 2).T
    order = np.lexsort((y, x, keys))  # before the table is made: pictures are moved once
    places = places.pick(np.array(kept, int)[order])
    rows = pa.table(
        [
            pa.array([name] * len(kept), pa.string()),
            x[order],
            y[order],
            places.tissue,
            keys[order],
            pa.array([None if label < 0 else label for label in places.label.tolist()], pa.int32()),
            pa.array([images[index] for index in order], pa.binary()),
            pa.array([masks[index] for index in order], pa.binary()),
        ],
        schema=PIECE_SCHEMA,
    )
    return Region(rows, dict(sorted(rejected.items())))


def _encoded(slide: Slide, places: Places, grid: Grid, spec: PatchSetSpec, stain: str) -> Iterator[bytes | str]:
    """The JPEG of each patch, or why it is rejected."""
    to_srgb = _profile(slide.reader.icc) if spec.icc == "srgb" else None
    mpp = max(slide.mpp, spec.patch_mpp or 0.0)  # enlarged pixels hold no more than the slide's own
    for patches in _groups(resample(slide.crops(grid.level, places.box), spec.px)):
        if to_srgb is not None:
            colours = [ImageCms.applyTransform(Image.fromarray(patch), to_srgb) for patch in patches]
            patches = [np.asarray(image) for image in colours]
        for patch, reason in zip(patches, flaws(patches, mpp, stain, spec.tissue.rejected), strict=True):
            yield encode_jpeg(patch, spec.quality) if reason is None else reason


def _groups(patches: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Patches that are judged together, which costs less than one by one."""
    group: list[np.ndarray] = []
    for patch in patches:
        group.append(patch)
        if len(group) == _TOGETHER or len(group) * patch.nbytes >= _TOGETHER_BYTES:
            yield group
            group = []
    if group:
        yield group


@cache
def _profile(icc: bytes | None) -> ImageCms.ImageCmsTransform | None:
    """What turns a slide's colours into sRGB, perceptually; None when it has no profile."""
    if icc is None:
        return None
    return ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB"), "RGB", "RGB"
    )
