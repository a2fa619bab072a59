"""How an image file of a labelled set is stored as patches: as it is where that can be, else as PNG."""

import io
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import simplejpeg
from PIL import Image

from raysweep.patches.codec import FORMATS, MAX_PIXELS, decode
from raysweep.tasks.files import orientation_of
from raysweep.tasks.reader import Reader

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_PNG_COLOURS = {0: "grey", 2: "RGB"}  # without palette and transparency; https://www.w3.org/TR/png-3/#11IHDR


class Picture(NamedTuple):
    """One patch: its corner and size in pixels of the file, and its encoded bytes."""

    x: int
    y: int
    width: int
    height: int
    data: bytes


def stored_pictures(reader: Reader, name: str, edge: int) -> tuple[tuple[int, int], Iterator[Picture]]:
    """The size of an image, (width, height), and the patches that it becomes, one at a time.

    An upright JPEG or PNG of 8-bit RGB or grey is one patch with the file's own bytes; other pictures become a PNG,
    turned as their EXIF orientation says, transparent parts white. An image with a side of more than `2 * edge` pixels
    becomes windows of at most `edge` pixels a side, as PNG: what is decoded of a JPEG is not compressed with losses a
    second time. Raises OSError or WorkError when the image cannot be decoded.
    """
    data = reader.data(name)
    size = _plain_size(data) if data is not None else None
    if data is not None and size is not None and max(size) <= 2 * edge and size[0] * size[1] <= MAX_PIXELS:
        decode(data)  # as training will
        return size, iter([Picture(0, 0, *size, data)])
    image = reader.image(name)
    image.info = {}  # a colour profile or a transparent colour would go into the PNG
    if max(image.size) <= 2 * edge:
        return image.size, iter([Picture(0, 0, *image.size, _png(image))])
    return image.size, _windows(image, edge)


def _windows(image: Image.Image, edge: int) -> Iterator[Picture]:
    width, height = (min(edge, side) for side in image.size)
    for y, x in product(_starts(image.height, height), _starts(image.width, width)):
        yield Picture(x, y, width, height, _png(image.crop((x, y, x + width, y + height))))


def _starts(side: int, edge: int) -> list[int]:
    """Where windows begin, side by side; the last one ends where the image ends."""
    return [min(start, side - edge) for start in range(0, side, edge)]


def _plain_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG or PNG that can be stored as it is; None for any other file."""
    if data.startswith(_JPEG):
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        return (width, height) if colours in ("YCbCr", "RGB", "Gray") and _upright(data) else None
    if data.startswith(_PNG) and len(data) > 25 and data[24] == 8 and data[25] in _PNG_COLOURS:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            plain = not image.has_transparency_data and getattr(image, "n_frames", 1) == 1
            size = image.size
        return size if plain and _upright(data) else None
    return None


def _upright(data: bytes) -> bool:
    if data.startswith(_PNG) and not any(chunk in data for chunk in (b"eXIf", b"iTXt", b"zTXt", b"tEXt")):
        return True  # nothing in it could say otherwise
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if data.startswith(_PNG):
            image.load()  # what it says of its turn may stand behind its pixels
        return orientation_of(image) == 1


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
