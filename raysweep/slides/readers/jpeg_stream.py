"""A JPEG tile of a TIFF as a picture of its own."""

from raysweep.errors import WorkError

_SOI, _EOI, _SOS = b"\xff\xd8", b"\xff\xd9", 0xDA
_JFIF, _ADOBE = 0xE0, 0xEE


class JpegTiles:
    """Makes whole JPEGs of the tiles of one image, which every decoder shows in the right colours.

    Tiles leave out the tables that they share (TIFF Technical Note 2) and what their colours mean, which the TIFF
    itself says (its photometric interpretation). The tables go in, and an Adobe marker that says whether the three
    components are YCbCr or RGB; marks of a tile's own that could say otherwise (JFIF, Adobe) go out. The compressed
    pixels stay as they are.
    """

    def __init__(self, tables: bytes | None, *, ycbcr: bool) -> None:
        """Raises WorkError when the tables are no JPEG."""
        adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + (b"\x01" if ycbcr else b"\x00")
        self._start = _SOI + adobe + (b"" if tables is None else b"".join(_split(tables)))
        self._seen, self._whole = _SOI + b"\0", b""  # no tile starts like this

    def whole(self, tile: bytes) -> bytes:
        """A tile as a JPEG of its own. Raises WorkError when it is no JPEG."""
        if not tile.startswith(self._seen):  # tiles of one image have the same headers, most often
            headers, scan = _split(tile)
            end = len(tile) - len(scan) + 2  # the mark of the scan is a part of it
            self._seen, self._whole = tile[:end], self._start + headers + scan[:2]
        return self._whole + tile[len(self._seen) :]


def _split(data: bytes) -> tuple[bytes, bytes]:
    """The headers of a JPEG but for its start and for JFIF and Adobe marks, and the scan; tables alone have none."""
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
    return b"".join(kept), b""
