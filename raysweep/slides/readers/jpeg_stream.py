"""A JPEG tile of a TIFF as a picture of its own."""

from raysweep.errors import WorkError

_SOI, _EOI, _SOS = b"\xff\xd8", b"\xff\xd9", 0xDA
_JFIF, _ADOBE = 0xE0, 0xEE


def jpeg_head(tables: bytes | None, *, ycbcr: bool) -> bytes:
    """What tiles of a TIFF lack to be pictures of their own: the start of a JPEG, up to a tile's own headers.

    Tiles leave out the tables that they share (TIFF Technical Note 2) and what their colours mean, which the TIFF
    itself says (its photometric interpretation). So the tables are here, and an Adobe marker that says whether the
    three components are YCbCr or RGB. Raises WorkError when the tables are no JPEG.
    """
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + (b"\x01" if ycbcr else b"\x00")
    return _SOI + adobe + (b"" if tables is None else _body(tables))


def whole_jpeg(head: bytes, tile: bytes) -> bytes:
    """A JPEG that every decoder shows in the right colours, of a tile's compressed pixels: nothing is decoded.

    `head` is `jpeg_head` of the tile's image. Marks of the tile's own that say what its colours mean (JFIF, Adobe) go
    out. Raises WorkError when the tile is no JPEG.
    """
    return head + _body(tile)


def _body(data: bytes) -> bytes:
    """All after the start of a JPEG but for JFIF and Adobe marks; of tables alone, which hold no scan, up to the end."""
    if data[:2] != _SOI:
        raise WorkError("a tile is not a JPEG")
    kept: list[bytes] = []
    start = at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise WorkError("a tile's JPEG headers are damaged")
        marker = data[at + 1]
        if marker == _SOS:
            kept.append(data[start:])
            return kept[0] if len(kept) == 1 else b"".join(kept)
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in (_JFIF, _ADOBE):
            kept.append(data[start:at])
            start = end
        at = end
    if data[-2:] != _EOI:
        raise WorkError("a tile's JPEG headers are cut off")
    return b"".join([*kept, data[start:-2]])
