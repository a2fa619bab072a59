"""Other tilers on the same slide: patches per second of one process, where they are installed (extra `bench`)."""

import importlib.util
import io
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.prepared import QUALITY, prepared


def installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def hs2p(path: str, keys: dict[str, Any]) -> float:
    """Its own tiles at the same scale, in a tar file; its search for tissue does not count, as ours does not."""
    from hs2p.api import SegmentationConfig, SlideSpec, TilingConfig, extract_tiles_to_tar, tile_slide

    spec, _, _, _ = prepared(path, keys)
    mpp = spec.patch_mpp or _mpp(path)
    tiling = TilingConfig(requested_spacing_um=mpp, requested_tile_size_px=spec.px, tolerance=0.01, overlap=0.0)
    slide = SlideSpec(sample_id="slide", image_path=Path(path))
    result = tile_slide(slide, tiling=tiling, segmentation=SegmentationConfig(method="hsv"))
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        _, result = extract_tiles_to_tar(
            result, Path(folder), jpeg_quality=QUALITY, num_workers=1, jpeg_backend=_jpeg_backend()
        )
        return len(result.x) / (time.perf_counter() - started)


def _jpeg_backend() -> str:
    """PyTurboJPEG wants a library of the system; where that is missing, hs2p's default."""
    try:
        from turbojpeg import TurboJPEG

        TurboJPEG()
    except Exception:
        return "pil"
    return "turbojpeg"


def tiatoolbox(path: str, keys: dict[str, Any]) -> float:
    """`read_rect` at the scale of the patches, where ours are, and JPEG by Pillow."""
    from PIL import Image
    from tiatoolbox.wsicore.wsireader import WSIReader

    spec, _, _, regions = prepared(path, keys)
    mpp = spec.patch_mpp or _mpp(path)
    reader = WSIReader.open(path)
    started = time.perf_counter()
    for places in regions:
        for corner in places.corner.tolist():
            patch = reader.read_rect(corner, (spec.px, spec.px), resolution=mpp, units="mpp")
            Image.fromarray(patch).save(io.BytesIO(), "JPEG", quality=QUALITY)
    return sum(map(len, regions)) / (time.perf_counter() - started)


def _mpp(path: str) -> float:
    from raysweep.slides.slide import Slide

    with Slide(path) as slide:
        return slide.mpp
