"""A JPEG tile of a TIFF as a picture of its own."""

from raysweep.errors import WorkError
from raysweep.slides.readers.jpeg_colours import jpeg_is_ycbcr

_SOI, _EOI, _SOS = b"\xff\xd8", b"\xff\xd9", 0xDA
_JFIF, _ADOBE = 0xE0, 0xEE
_RGB_MARK = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"


class JpegTiles:
    """Makes whole JPEGs of the tiles of one image, which every decoder shows in the right colours.

    Tiles leave out the tables that they share (TIFF Technical Note 2) and, most often, what their colours mean, which
    the TIFF itself says (its photometric interpretation). The tables go in, and an Adobe marker that says whether the
    three components are YCbCr or RGB. What a tile itself says of that counts more than the TIFF: whoever copies JPEGs
    into one may have taken the wrong word for them. The compressed pixels stay as they are.
    """

    def __init__(self, tables: bytes | None, *, ycbcr: bool) -> None:
        """`ycbcr` is what the TIFF says. Raises WorkError when the tables are no JPEG."""
        self._ycbcr = ycbcr
        self._marks, self._tables = (b"", b"") if tables is None else _split(tables)[:2]
        self._seen, self._whole = _SOI + b"\0", b""  # no tile starts like this

    def whole(self, tile: bytes) -> bytes:
        """A tile as a JPEG of its own. Raises WorkError when it is no JPEG."""
        if not tile.startswith(self._seen):  # tiles of one image have the same headers, most often
            marks, headers, scan = _split(tile)
            end = len(tile) - len(scan) + 2  # the mark of the scan is a part of it
            told = jpeg_is_ycbcr(_SOI + self._marks + marks + headers)
            adobe = _RGB_MARK[:-1] + b"\x01" if (self._ycbcr if told is None else told) else _RGB_MARK
            self._seen, self._whole = tile[:end], _SOI + adobe + self._tables + headers + scan[:2]
        return self._whole + tile[len(self._seen) :]


def _split(data: bytes) -> tuple[bytes, bytes, bytes]:
    """JFIF and Adobe marks of a JPEG, its other headers but for its start, and the scan; tables alone have none."""
    if data[:2] != _SOI:
        raise WorkError("a tile is not a JPEG")
    marks: list[bytes] = []
    kept: list[bytes] = []
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise WorkError("a tile's JPEG headers are damaged")
        marker = data[at + 1]
        if marker == _SOS:
            return b"".join(marks), b"".join(kept), data[at:]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        (marks if marker in (_JFIF, _ADOBE) else kept).append(data[at:end])
        at = end
    if data[-2:] != _EOI:
        raise WorkError("a tile's JPEG headers are cut off")
    return b"".join(marks), b"".join(kept), b""
