"""The patches of one cut of a slide: each pixel decoded once, resized once, encoded, sorted by key."""

import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
import torch
from PIL import Image, ImageCms

from raysweep.errors import WorkError
from raysweep.patches.codec import encode_jpeg
from raysweep.patches.shuffle.spool import PIECE_SCHEMA
from raysweep.randomness import stable_hash
from raysweep.slides.flaws import Judge
from raysweep.slides.grid import Grid
from raysweep.slides.native import native_tiles
from raysweep.slides.places import Places
from raysweep.slides.slide import Slide
from raysweep.slides.spec import PatchSetSpec

_TOGETHER, _TOGETHER_BYTES = 32, 2**22
_MOST_BYTES = 2**31 - 1  # of an Arrow array of binaries


@dataclass(frozen=True)
class Cut:
    """Rows of `PIECE_SCHEMA` by key, and how many patches were rejected for which reason."""

    rows: pa.Table
    rejected: dict[str, int]


def read_cut(
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
) -> Cut:
    """The patches of some places. Raises WorkError when the slide is damaged there.

    Args:
        name: of the slide, part of the shuffle key.
        copy: the slide's own JPEG tiles become the patches; they are judged only where `tissue.reject` is given.
        mask: gives the stored mask for edges in level-0 pixels, float64 (4,).
    """
    if slide.reader.strip_px is not None:
        left, top = places.box[:, 0], places.box[:, 1]
        places = places.pick(np.lexsort((left, top, left // slide.reader.strip_px)))
    rects = places.rects(grid.downsample)
    mpps = _mpps(slide, places, spec)
    rejected: Counter[str] = Counter()
    kept: list[int] = []
    images: list[bytes] = []
    masks: list[bytes | None] = []
    found: Iterator[bytes | str]
    found = _copied(slide, places, spec, stain) if copy else _encoded(slide, places, mpps, grid, spec, stain)
    for index, image in enumerate(found):
        if isinstance(image, str):
            rejected[image] += 1
            continue
        kept.append(index)
        images.append(image)
        masks.append(None if mask is None else mask(rects[index]))
    own = places.pick(np.array(kept, int))
    unlike = [own.corner, own.box[:, 2:3] - own.box[:, :1]] if spec.labels.box else [own.corner]
    keys = np.array([stable_hash(name, *where, seed) for where in np.hstack(unlike).tolist()], np.uint64)
    order = np.lexsort((own.corner[:, 1], own.corner[:, 0], keys))  # before pictures are moved, so they are once
    own, mpps = own.pick(order), mpps[kept][order]
    rows = pa.table(
        [
            pa.array([name] * len(kept), pa.string()),
            *own.corner.T.astype(np.int32),
            *own.box.T.astype(np.int32),
            pa.array(mpps if spec.labels.box else [None] * len(kept), pa.float64()),
            own.tissue,
            keys[order],
            pa.array([None if label < 0 else label for label in own.label.tolist()], pa.int32()),
            _binary([images[index] for index in order]),
            pa.array([masks[index] for index in order], pa.binary()),
        ],
        schema=PIECE_SCHEMA,
    )
    return Cut(rows, dict(sorted(rejected.items())))


def _binary(values: list[bytes]) -> pa.Array:
    """A binary array in memory of its own size: one that grows takes three times as much."""
    ends = np.cumsum([0, *map(len, values)], dtype=np.int64)
    if ends[-1] > _MOST_BYTES:
        raise WorkError("a cut has more than 2 GiB of patches; give compute.cut_mpx a smaller value")
    buffers = [None, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(b"".join(values))]
    return pa.Array.from_buffers(pa.binary(), len(values), buffers)


def _mpps(slide: Slide, places: Places, spec: PatchSetSpec) -> np.ndarray:
    """um per pixel of each patch, float64 (n,)."""
    if not spec.labels.box:
        return np.full(len(places), spec.patch_mpp or slide.mpp)
    edges_um = (places.box[:, 2:] - places.box[:, :2]) * np.array(slide.mpp_xy)  # boxes are in pixels of level 0
    return np.sqrt(edges_um.prod(axis=1)) / spec.px


def _encoded(
    slide: Slide, places: Places, mpps: np.ndarray, grid: Grid, spec: PatchSetSpec, stain: str
) -> Iterator[bytes | str]:
    """The JPEG of each patch, or why it is rejected."""
    patches: Iterator[np.ndarray] = resample(slide.crops(grid.level, places.box), spec.px)
    to_srgb = _profile(slide.reader.icc) if spec.icc == "srgb" else None
    if to_srgb is not None:
        patches = (np.asarray(ImageCms.applyTransform(Image.fromarray(patch), to_srgb)) for patch in patches)
    for patch, reason in _judged(patches, mpps.tolist(), spec, stain):
        yield encode_jpeg(patch, spec.quality) if reason is None else reason


def _copied(slide: Slide, places: Places, spec: PatchSetSpec, stain: str) -> Iterator[bytes | str]:
    """The slide's own JPEG of each patch, or why it is rejected; decoded only to be judged."""
    tiles = native_tiles(slide, places, spec.px)
    if spec.tissue.reject is None or not spec.tissue.rejected:
        yield from tiles
        return
    for tile, (_, reason) in zip(
        tiles, _judged(slide.crops(0, places.box), [slide.mpp] * len(places), spec, stain), strict=True
    ):
        yield tile if reason is None else reason


def _judged(
    patches: Iterable[np.ndarray], mpps: Iterable[float], spec: PatchSetSpec, stain: str
) -> Iterator[tuple[np.ndarray, str | None]]:
    """Each patch and its flaw. Those of one scale are judged in groups: it costs less than one by one."""
    group: list[np.ndarray] = []
    looks: list[np.ndarray] = []
    last, judge = 0.0, None
    for patch, mpp in zip(patches, mpps, strict=True):
        if judge is None or mpp != last or len(group) == _TOGETHER or len(group) * patch.nbytes >= _TOGETHER_BYTES:
            if judge is not None:
                yield from zip(group, judge.flaws(group, looks), strict=True)
            if mpp != last:
                judge = Judge(spec.px, mpp, stain, spec.tissue.rejected)
            group, looks, last = [], [], mpp
        assert judge is not None
        group.append(patch)
        looks.append(judge.look(patch))
    if judge is not None:
        yield from zip(group, judge.flaws(group, looks), strict=True)


@cache
def _profile(icc: bytes | None) -> ImageCms.ImageCmsTransform | None:
    """What turns a slide's colours into sRGB, perceptually; None when it has no profile.

    Raises WorkError when the profile cannot be applied.
    """
    if icc is None:
        return None
    try:
        return ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB"), "RGB", "RGB"
        )
    except (ImageCms.PyCMSError, OSError) as error:
        raise WorkError("the slide's colour profile is broken or not one for RGB; write `icc: keep`") from error


_BATCH_BYTES = 2**21  # small crops share a call, which is up to three times as fast; large ones need not


def resample(crops: Iterable[np.ndarray], px: int) -> Iterator[np.ndarray]:
    """Each uint8 (h, w, 3) crop as a patch, in order, uint8 (px, px, 3), in one antialiased resize.

    A crop of that size is the patch itself.
    """
    waiting: list[np.ndarray] = []
    for crop in crops:
        if waiting and (crop.shape != waiting[0].shape or (len(waiting) + 1) * crop.nbytes > _BATCH_BYTES):
            yield from _resized(waiting, px)
            waiting = []
        if crop.shape[:2] == (px, px):
            yield crop
        else:
            waiting.append(crop)
    if waiting:
        yield from _resized(waiting, px)


def _resized(crops: Sequence[np.ndarray], px: int) -> np.ndarray:
    """All in one call, uint8 (n, px, px, 3)."""
    batch = crops[0].reshape(1, *crops[0].shape) if len(crops) == 1 else np.stack(crops)
    batch = np.require(batch, requirements=["C", "W"])  # torch warns of pixels that it could not write to
    planes = torch.from_numpy(batch).permute(0, 3, 1, 2)  # channels last: torch's fast way
    small = torch.nn.functional.interpolate(planes, size=(px, px), mode="bicubic", antialias=True)
    return small.permute(0, 2, 3, 1).contiguous().numpy()
