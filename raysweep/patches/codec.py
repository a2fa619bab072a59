"""Pixels to stored bytes and back: JPEG and PNG."""

import io
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import simplejpeg
from PIL import Image

from raysweep.errors import WorkError

MAX_PIXELS = 2**26  # 8192 x 8192, the largest patch; a small file that claims more is refused before it is decoded
# What Pillow may open: of its others one runs another program (EPS), and some are hardly looked after.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "JPEG2000")
_JPEG = b"\xff\xd8\xff"


def decode(data: bytes) -> np.ndarray:
    """The picture as uint8 (h, w, 3) RGB; transparent pixels become white, 16-bit ones keep their high byte.

    Raises WorkError when the bytes are no picture, are cut off, or claim more than `MAX_PIXELS` pixels.
    """
    try:
        if data[:3] == _JPEG:
            height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
            _check_size(width, height)
            if colours in ("YCbCr", "RGB", "Gray"):  # others (CMYK) need Pillow's conversion
                return decode_jpeg(data)
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(*image.size)
            return as_rgb(image)
    except (ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise WorkError(f"picture cannot be decoded ({error})") from error


def encode_jpeg(rgb: np.ndarray, quality: int) -> bytes:
    """JPEG bytes of a uint8 (h, w, 3) RGB picture, chroma halved in both directions (4:2:0)."""
    return simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), quality, "RGB", "420")


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise WorkError(f"picture of {width} x {height} pixels is larger than {MAX_PIXELS} pixels")


def as_rgb(image: Image.Image) -> np.ndarray:
    """An open picture as uint8 (h, w, 3) RGB; transparent pixels become white, 16-bit ones keep the high byte."""
    if image.mode.startswith("I"):
        grey = (np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))
    return np.asarray(image.convert("RGB"))


_EOI = b"\xff\xd9"
_LEFT_OVER = "extraneous bytes"  # behind the last pixel: more than the decoder had read ahead, which is 0 to 7


def decode_jpeg(jpeg: bytes, buffer: np.ndarray | None = None) -> np.ndarray:
    """The pixels of a JPEG in YCbCr, RGB or grey, uint8 (h, w, 3) RGB, in `buffer` where it is given.

    Raises ValueError when it is damaged. Bytes that are left over after the last pixel may be padding. In a damaged
    JPEG they are compressed pixels which the decoder, out of step, did not need; so what they are is seen from whether
    it does without them.
    """
    try:
        return simplejpeg.decode_jpeg(jpeg, "RGB", buffer=buffer)
    except ValueError as error:
        if _LEFT_OVER in str(error):
            for bare in without_padding(jpeg):
                with suppress(ValueError):
                    return simplejpeg.decode_jpeg(bare, "RGB", buffer=buffer)
        raise


def without_padding(jpeg: bytes) -> Iterator[bytes]:
    """What a JPEG may be without bytes 0x00 and 0xFF before its end: some writers fill tiles up with them.

    The last one or two of the compressed pixels can be such bytes too (0xFF is written as 0xFF00), so there are three.
    """
    scan, end, _ = jpeg.rpartition(_EOI)
    bare = len(scan.rstrip(b"\x00\xff"))
    for kept in range(min(3, len(scan) - bare + 1)):
        yield scan[: bare + kept] + end
