"""The beginnings of DICOM files, as far as they tell a series."""

import struct
from pathlib import Path
from typing import Any

_LONG = ("OB", "SQ", "UN", "UT")


def element(
    group: int, number: int, vr: str, value: bytes, *, implicit: bool = False, undefined: bool = False
) -> bytes:
    """One data element; PS3.5, 7.1."""
    value += b"\0" * (len(value) % 2)
    length = 0xFFFFFFFF if undefined else len(value)
    head = struct.pack("<HH", group, number)
    if implicit or group == 0xFFFE:
        return head + struct.pack("<I", length) + value
    if vr in _LONG:
        return head + vr.encode() + b"\0\0" + struct.pack("<I", length) + value
    return head + vr.encode() + struct.pack("<H", length) + value


def dicom(series: str | None, *, implicit: bool = False, nested: bool = False, more: bytes = b"") -> bytes:
    """A file of `series`; with `nested`, behind sequences of undefined length that name other series."""
    syntax = b"1.2.840.10008.1.2" if implicit else b"1.2.840.10008.1.2.4.50"
    meta = element(2, 1, "OB", b"\0\1") + element(2, 0x10, "UI", syntax)
    body = element(8, 0x60, "CS", b"SM", implicit=implicit)
    if nested:
        inner = element(0x20, 0xE, "UI", b"9.9.9.9.9.9", implicit=implicit)
        item = element(0xFFFE, 0xE000, "", inner, undefined=True) + element(0xFFFE, 0xE00D, "", b"")
        body += element(8, 0x1115, "SQ", item, implicit=implicit, undefined=True) + element(0xFFFE, 0xE0DD, "", b"")
    body += element(0x10, 0x20, "LO", b"patient", implicit=implicit)
    if series is not None:
        body += element(0x20, 0xE, "UI", series.encode(), implicit=implicit)
    body += element(0x28, 0x10, "US", b"\0\1", implicit=implicit)
    return bytes(128) + b"DICM" + meta + body + more


def write_dicom(path: Path, series: str | None, **keys: Any) -> Path:
    """The bytes of `dicom` in a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dicom(series, **keys))
    return path
