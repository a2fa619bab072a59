"""Pictures in tiles that claim far more than there is."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import simplejpeg
import tifffile
from PIL import Image

from raysweep.errors import WorkError
from raysweep.slides.readers.claimed import claimed_pixels
from raysweep.slides.readers.mask_image import MaskSlide
from raysweep.slides.slide import Slide

from ..slidemaker import tissue

PIXELS = tissue(96, 64)  # width, height
HUGE = 60_000


def _jpeg() -> bytes:
    return simplejpeg.encode_jpeg(np.ascontiguousarray(PIXELS), 90)


def _png() -> bytes:
    out = io.BytesIO()
    Image.fromarray(PIXELS).save(out, "PNG")
    return out.getvalue()


def _claiming(data: bytes, kind: str) -> bytes:
    """The same with a head that says 60,000 x 60,000."""
    changed = bytearray(data)
    if kind == "jpeg":
        at = next(i for i in range(len(data)) if data[i] == 0xFF and data[i + 1] in (0xC0, 0xC1, 0xC2))
        struct.pack_into(">HH", changed, at + 5, HUGE, HUGE)
    elif kind == "jpeg2000":
        struct.pack_into(">II", changed, data.find(b"\xff\x4f\xff\x51") + 8, HUGE, HUGE)
    else:
        struct.pack_into(">II", changed, 16, HUGE, HUGE)
        struct.pack_into(">I", changed, 29, zlib.crc32(bytes(changed[12:29])))
    return bytes(changed)


OF = {"jpeg": (7, _jpeg), "jpeg2000": (34712, lambda: imagecodecs.jpeg2k_encode(PIXELS)), "png": (34933, _png)}


@pytest.mark.parametrize("kind", OF)
def test_the_size_is_read_from_the_head(kind):
    compression, make = OF[kind]
    data = make()
    assert claimed_pixels(data, compression) == 96 * 64
    assert claimed_pixels(_claiming(data, kind), compression) == HUGE**2
    assert claimed_pixels(data, 8) == 0
    for broken in (b"", data[:10], b"\xff" * 9, bytes(40)):
        assert claimed_pixels(broken, compression) in (0, 96 * 64)


@pytest.mark.parametrize("kind", ["jpeg2000", "png"])
def test_a_tile_of_that_kind_is_refused_before_room_is_made(tmp_path, kind):
    path = tmp_path / "a.ome.tif"
    scale = {f"PhysicalSize{axis}": 0.5 for axis in "XY"} | {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(PIXELS, compression=kind, tile=(64, 96), photometric="rgb", metadata={"axes": "YXS", **scale})
    with Slide(path) as slide:
        slide.read(0, 0, 0, 96, 64)
    data = path.read_bytes()
    with tifffile.TiffFile(path) as tiff:
        start, size = tiff.pages[0].dataoffsets[0], tiff.pages[0].databytecounts[0]
    path.write_bytes(data[:start] + _claiming(data[start : start + size], kind) + data[start + size :])
    with (
        Slide(path) as slide,
        pytest.raises(WorkError, match="it claims to be far larger than the tile"),
    ):
        slide.read(0, 0, 0, 96, 64)
    with MaskSlide(path, (96, 64)) as mask, pytest.raises(WorkError, match="claims to be far larger than it is"):
        mask.values(np.array([0.0, 0, 96, 64]), 96, 64)
