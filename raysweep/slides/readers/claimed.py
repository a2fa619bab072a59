"""How many pixels the picture inside of a tile claims to have, whatever the TIFF says of the tile."""

import struct

_JPEG, _JPEG2000, _PNG = (6, 7, 33007, 34892), (33003, 33004, 33005, 34712), (34933,)  # TIFF's compressions
_NO_LENGTH = frozenset({0x01, *range(0xD0, 0xDA)})  # JPEG's markers that stand alone
_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # those that begin a frame; ITU-T T.81, table B.1
_SIZ = b"\xff\x4f\xff\x51"  # ISO 15444-1, A.5.1: begins a code stream


def claimed_pixels(data: bytes, compression: int) -> int:
    """Width times height of a JPEG, JPEG 2000 or PNG; 0 where it is another format or does not say.

    Decoders make room for as many before they look at what is there.
    """
    try:
        if compression in _JPEG:
            return _of_jpeg(data)
        if compression in _JPEG2000:
            at = data.find(_SIZ)
            if at < 0:
                return 0
            right, bottom, left, top = struct.unpack_from(">4I", data, at + 8)
            return max(0, right - left) * max(0, bottom - top)
        if compression in _PNG:
            width, height = struct.unpack_from(">II", data, 16)
            return int(width * height)
    except (struct.error, IndexError):
        return 0
    return 0


def _of_jpeg(data: bytes) -> int:
    at = 2
    while True:
        if data[at] != 0xFF:
            return 0
        marker = data[at + 1]
        if marker in _SIZES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return int(width * height)
        if marker == 0xFF:
            at += 1
        elif marker in _NO_LENGTH:
            at += 2
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
