"""DICOM slides of one level, of whichever frames and header; PS3.3, A.32.8, as far as OpenSlide reads it."""

import struct
from collections.abc import Sequence
from pathlib import Path

from .dicoms import element

JPEG, JPEG2000 = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.91"
_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"


def write_dicom_slide(
    path: Path,
    frames: Sequence[bytes],
    size: tuple[int, int],
    tile: int,
    photometric: str,
    *,
    syntax: str = JPEG,
    mpp: float = 0.5,
    series: str = "1.2.3.4.5.6",
    places: Sequence[tuple[int, int]] | None = None,
    part: tuple[int, int, int] | None = None,
) -> Path:
    """Frames row by row, or at `places`, the corners (x, y) of each.

    `part`: of a concatenation, the file's number, how many there are, and the frames before.
    """
    instance = f"{series}.{path.stem.encode().hex()[:8].translate(str.maketrans('abcdef', '123456'))}"
    about = element(2, 1, "OB", b"\0\1") + element(2, 2, "UI", _uid(_SLIDE)) + element(2, 3, "UI", _uid(instance))
    about += element(2, 0x10, "UI", _uid(syntax)) + element(2, 0x12, "UI", _uid("1.2.3.4"))
    spacing = element(0x28, 0x30, "DS", f"{mpp / 1000:.7f}\\{mpp / 1000:.7f}".encode())
    body = [
        element(8, 8, "CS", b"ORIGINAL\\PRIMARY\\VOLUME\\NONE"),
        element(8, 0x16, "UI", _uid(_SLIDE)),
        element(8, 0x18, "UI", _uid(instance)),
        element(8, 0x60, "CS", b"SM"),
        element(0x20, 0xD, "UI", _uid("1.2.3.4.5")),
        element(0x20, 0xE, "UI", _uid(series)),
        element(0x20, 0x13, "IS", b"1"),
        *([] if part is None else _concatenation(*part)),
        element(0x20, 0x9311, "CS", b"TILED_SPARSE" if places else b"TILED_FULL"),
        _short(0x28, 2, 3),
        element(0x28, 4, "CS", photometric.encode()),
        _short(0x28, 6, 0),
        element(0x28, 8, "IS", str(len(frames)).encode()),
        _short(0x28, 0x10, tile),
        _short(0x28, 0x11, tile),
        *(_short(0x28, number, value) for number, value in ((0x100, 8), (0x101, 8), (0x102, 7), (0x103, 0))),
        _long(0x48, 6, size[0]),
        _long(0x48, 7, size[1]),
        _long(0x48, 0x303, 1),
        _sequence(0x5200, 0x9229, [_sequence(0x28, 0x9110, [spacing])]),
    ]
    if places:
        body.append(_sequence(0x5200, 0x9230, [_sequence(0x48, 0x21A, [_place(*place)]) for place in places]))
    pixels = element(0x7FE0, 0x10, "OB", b"", undefined=True) + element(0xFFFE, 0xE000, "", b"")
    pixels += b"".join(element(0xFFFE, 0xE000, "", frame) for frame in frames) + element(0xFFFE, 0xE0DD, "", b"")
    head = element(2, 0, "UL", struct.pack("<I", len(about))) + about
    path.write_bytes(bytes(128) + b"DICM" + head + b"".join(body) + pixels)
    return path


def _concatenation(number: int, total: int, before: int) -> list[bytes]:
    """PS3.3, C.7.6.16.2.2.4."""
    return [
        element(0x20, 0x9161, "UI", _uid("1.2.3.4.5.8")),
        _short(0x20, 0x9162, number + 1),
        _short(0x20, 0x9163, total),
        _long(0x20, 0x9228, before),
    ]


def _place(x: int, y: int) -> bytes:
    return element(0x48, 0x21E, "SL", struct.pack("<i", x + 1)) + element(0x48, 0x21F, "SL", struct.pack("<i", y + 1))


def _uid(text: str) -> bytes:
    return text.encode()


def _short(group: int, number: int, value: int) -> bytes:
    return element(group, number, "US", struct.pack("<H", value))


def _long(group: int, number: int, value: int) -> bytes:
    return element(group, number, "UL", struct.pack("<I", value))


def _sequence(group: int, number: int, contents: Sequence[bytes]) -> bytes:
    return element(group, number, "SQ", b"".join(element(0xFFFE, 0xE000, "", item) for item in contents))
