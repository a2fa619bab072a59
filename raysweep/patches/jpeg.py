"""JPEGs to pixels: damaged ones are refused, padded ones are not."""

from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import simplejpeg

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
