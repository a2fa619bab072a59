"""A JPEG tile of a TIFF as a picture of its own."""

from raysweep.errors import WorkError

_SOI, _EOI, _SOS = b"\xff\xd8", b"\xff\xd9", 0xDA
_JFIF, _ADOBE = 0xE0, 0xEE


def whole_jpeg(tile: bytes, tables: bytes | None, *, ycbcr: bool) -> bytes:
    """A JPEG that every decoder shows in the right colours, of the same compressed pixels: nothing is decoded.

    Tiles of a TIFF leave out the tables that they share (TIFF Technical Note 2) and what their colours mean, which
    the TIFF itself says (its photometric interpretation). The tables go in, and an Adobe marker says whether the
    three components are YCbCr or RGB; marks that could say otherwise (JFIF) go out. Raises WorkError when the
    bytes are no JPEG.
    """
    head = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + (b"\x01" if ycbcr else b"\x00")
    shared = b"" if tables is None else _segments(tables)[0]
    own, rest = _segments(tile)
    return b"".join((_SOI, head, shared, own, rest))


def _segments(data: bytes) -> tuple[bytes, bytes]:
    """The marker segments before the scan without JFIF and Adobe marks, and the scan itself (from SOS on)."""
    if data[:2] != _SOI:
        raise WorkError("a tile is not a JPEG")
    kept: list[bytes] = []
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise WorkError("a tile's JPEG headers are damaged")
        marker = data[at + 1]
        if marker == _SOS:
            return b"".join(kept), data[at:]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker not in (_JFIF, _ADOBE):
            kept.append(data[at:end])
        at = end
    if data[-2:] != _EOI:
        raise WorkError("a tile's JPEG headers are cut off")
    return b"".join(kept), b""  # tables alone
