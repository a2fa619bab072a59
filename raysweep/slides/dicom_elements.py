"""The data elements of a DICOM file, in the encodings of PS3.5 that slides have."""

import struct
from collections.abc import Iterator
from mmap import mmap

Tag = tuple[int, int]
UNDEFINED = 0xFFFFFFFF  # length of a sequence, or of compressed pixels, that ends with a mark

_IMPLICIT = "1.2.840.10008.1.2"
_SYNTAX = (0x0002, 0x0010)
_PIXELS = (0x7FE0, 0x0010)
_ITEM = (0xFFFE, 0xE000)
_ENDS = (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)  # of an item, of a sequence
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")  # PS3.5, 7.1.2
_PREAMBLE, _MAGIC = 128, b"DICM"


def elements(data: bytes | mmap) -> Iterator[tuple[Tag, int, int]]:
    """Tag, place of the value and its length in bytes, or `UNDEFINED`, of what is not inside a sequence; pixels last.

    PS3.10: a preamble, then data elements in the order of their tags; group 2 tells how the rest is coded. Nothing for
    what is no DICOM. Raises struct.error, IndexError or UnicodeDecodeError where the data are cut off or damaged.
    """
    if data[_PREAMBLE : _PREAMBLE + len(_MAGIC)] != _MAGIC:
        return
    at, implicit, about_file = _PREAMBLE + len(_MAGIC), False, True
    while at < len(data):
        about_file = about_file and data[at : at + 2] == b"\2\0"
        tag, start, length = _element(data, at, implicit and not about_file)
        yield tag, start, length
        if tag == _SYNTAX:
            implicit = text_of(data, start, length) == _IMPLICIT
        if tag == _PIXELS:
            return
        at = start + length if length != UNDEFINED else _after(data, start, implicit)


def items(data: bytes | mmap, start: int) -> Iterator[tuple[int, int]]:
    """Place and length of each item of compressed pixels that begin at `start`: a table of offsets, then fragments.

    Raises struct.error where the data end before them.
    """
    while True:
        tag, start, length = _element(data, start, implicit=True)
        if tag != _ITEM:
            return
        if start + length > len(data):
            raise struct.error("the data end in the middle of an item")
        yield start, length
        start += length


def text_of(data: bytes | mmap, start: int, length: int) -> str:
    """A value that is text."""
    return data[start : start + length].decode("ascii").strip("\0 ")


def _element(data: bytes | mmap, at: int, implicit: bool) -> tuple[Tag, int, int]:
    """Tag, where its value begins and its length."""
    group, number = struct.unpack_from("<HH", data, at)
    if implicit or group == 0xFFFE:
        return (group, number), at + 8, struct.unpack_from("<I", data, at + 4)[0]
    if data[at + 4 : at + 6] in _LONG:
        return (group, number), at + 12, struct.unpack_from("<I", data, at + 8)[0]
    return (group, number), at + 8, struct.unpack_from("<H", data, at + 6)[0]


def _after(data: bytes | mmap, at: int, implicit: bool) -> int:
    """Where a sequence or item that began at `at`, of undefined length, ends."""
    while True:
        tag, at, length = _element(data, at, implicit)
        if tag in _ENDS:
            return at
        at = at + length if length != UNDEFINED else _after(data, at, implicit)
