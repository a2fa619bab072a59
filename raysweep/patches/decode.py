"""Encoded pictures to pixels and back."""

import io

import numpy as np
import simplejpeg
from PIL import Image

from raysweep.errors import WorkError
from raysweep.patches.jpeg import decode_jpeg

MAX_PIXELS = 2**26  # 8192 x 8192, the largest patch; a small file that claims more is refused before it is decoded
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
        with Image.open(io.BytesIO(data)) as image:
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
