"""What the frames of a DICOM slide hold, RGB or YCbCr, whatever its header says, and whether a reader shows it so.

Writers that copy frames from other formats state a PhotometricInterpretation which is not that of the frames, and
readers differ in what they believe. So some frames of each level are decoded here, both ways, and compared with what
the reader shows.
"""

import mmap
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

from raysweep.errors import WorkError
from raysweep.slides.dicom import series_files
from raysweep.slides.dicom_elements import elements, items, text_of
from raysweep.slides.readers.jpeg_colours import jpeg_is_ycbcr

_SYNTAX, _PHOTOMETRIC, _PIXELS = (0x0002, 0x0010), (0x0028, 0x0004), (0x7FE0, 0x0010)
_ROWS, _COLUMNS = (0x0028, 0x0010), (0x0028, 0x0011)
_WIDTH, _HEIGHT, _KIND = (0x0048, 0x0006), (0x0048, 0x0007), (0x0020, 0x9311)  # of the whole picture; DimensionOrg.
_BEFORE = (0x0020, 0x9228)  # ConcatenationFrameOffsetNumber
_PLACES = b"\x48\x00\x1e\x02SL\x04\x00", b"\x48\x00\x1f\x02SL\x04\x00"  # column and row of a frame, counted from 1
_JPEG, _JPEG2000 = ("1.2.840.10008.1.2.4.50",), ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
_FRAMES = 64  # that are looked at in a file, at most
_APART = 12  # of 255, between the mean colours of both ways: less tells nothing
_NEAR = 6  # between those of a reader and of a way: tables and rounding
_BRIGHT, _WITHIN, _GREY, _MOST, _SOME = 200, 8, 40, 0.9, 100  # see `_seen`

Show = Callable[[int, int, int, int, int], np.ndarray]  # level, x, y, width and height in its pixels


def ycbcr_levels(path: Path, sizes: list[tuple[int, int]], show: Show) -> list[bool]:
    """Of each level of a DICOM slide, whether `show` gives Y, Cb and Cr in place of R, G and B.

    Args:
        path: one of the slide's files.
        sizes: (width, height) of each level.
        show: the pixels of a rectangle as a reader has them, uint8 (h, w, 3).

    Raises WorkError, which begins with `colours:`, where what the frames hold cannot be told, or shows as neither.
    """
    found = [False] * len(sizes)
    for info in series_files(path.as_posix()):
        with open(info.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                instance = _Instance.of(data)
            except (struct.error, IndexError, UnicodeDecodeError, RecursionError, KeyError):
                continue  # not a picture, or damaged: the reader says more
            if instance is not None and instance.size in sizes:
                level = sizes.index(instance.size)
                try:
                    found[level] |= _is_ycbcr(instance, data, lambda *box, level=level: show(level, *box))
                except (struct.error, IndexError) as error:
                    raise WorkError(f"truncated: {info.base_name} ends in the middle of its frames") from error
    return found


@dataclass(frozen=True)
class _Instance:
    """What a file's header says; `tile` and `size` are (width, height), `first` the corner (x, y) of the first frame
    where others do not follow row by row, `pixels` where compressed frames begin, `before` how many frames are in
    earlier files (of a concatenation: PS3.3, C.7.6.16.2.2.4)."""

    syntax: str
    photometric: str
    tile: tuple[int, int]
    size: tuple[int, int]
    first: tuple[int, int] | None
    pixels: int
    before: int

    def corner(self, frame: int) -> tuple[int, int] | None:
        """Where a frame lies (x, y); None for those of which it is not looked up."""
        if self.first is not None:
            return self.first if frame == 0 else None
        row, column = divmod(self.before + frame, -(-self.size[0] // self.tile[0]))
        return column * self.tile[0], row * self.tile[1]

    @classmethod
    def of(cls, data: mmap.mmap) -> "_Instance | None":
        """None for pixels that are not JPEG or JPEG 2000: those are what the header says."""
        at = {tag: (start, length) for tag, start, length in elements(data)}
        syntax = text_of(data, *at[_SYNTAX])
        if syntax not in _JPEG + _JPEG2000:
            return None
        number = {2: "<H", 4: "<I"}
        columns, rows, width, height = (
            struct.unpack_from(number[at[tag][1]], data, at[tag][0])[0] for tag in (_COLUMNS, _ROWS, _WIDTH, _HEIGHT)
        )
        before = struct.unpack_from("<I", data, at[_BEFORE][0])[0] if _BEFORE in at else 0
        first = None
        if _KIND in at and text_of(data, *at[_KIND]) != "TILED_FULL":
            places = [data.find(tag) for tag in _PLACES]  # deep in sequences; the first are those of the first frame
            if min(places) < 0:
                raise KeyError("no place of a frame")
            x, y = (struct.unpack_from("<i", data, place + 8)[0] - 1 for place in places)
            first = (x, y)
        return cls(
            syntax, text_of(data, *at[_PHOTOMETRIC]), (columns, rows), (width, height), first, at[_PIXELS][0], before
        )

    def frames(self, data: mmap.mmap) -> Iterator[bytes]:
        """The frames in order; a frame begins with a mark, and may lie in several fragments."""
        begin, frame = (b"\xff\xd8" if self.syntax in _JPEG else b"\xff\x4f"), b""
        for start, length in islice(items(data, self.pixels), 1, None):
            fragment = data[start : start + length]
            if frame and fragment[:2] == begin:
                yield frame
                frame = b""
            frame += fragment
        if frame:
            yield frame


@dataclass(frozen=True)
class _Frame:
    """A frame decoded: its components as they are, and as RGB if they are YCbCr; `marked`: whether they are, if told"""

    plain: np.ndarray
    converted: np.ndarray
    marked: bool | None


def _is_ycbcr(instance: _Instance, data: mmap.mmap, show: Callable[[int, int, int, int], np.ndarray]) -> bool:
    """Whether a level shows YCbCr as it is."""
    frames = []
    for number, packed in enumerate(islice(instance.frames(data), _FRAMES)):
        try:
            frames.append((number, _decoded(instance, packed)))
        except Exception as error:  # decoders raise anything
            raise WorkError(f"pixels cannot be read of frame {number + 1} ({error})") from error
    ycbcr = next((frame.marked for _, frame in frames if frame.marked is not None), None)
    if ycbcr is None:
        ycbcr = _seen([frame for _, frame in frames])
    if ycbcr is None:
        ycbcr = _stated(instance)
    for number, frame in frames:
        corner = instance.corner(number)
        if corner is None or corner[1] >= instance.size[1]:  # the same places again, at another focus
            break
        width, height = (min(instance.tile[axis], instance.size[axis] - corner[axis]) for axis in (0, 1))
        plain, converted = (_mean(way[:height, :width]) for way in (frame.plain, frame.converted))
        if np.abs(plain - converted).max() < _APART:
            continue  # grey: it looks the same either way
        shown = _mean(show(*corner, width, height))
        right, wrong = (converted, plain) if ycbcr else (plain, converted)
        if np.abs(shown - right).max() <= _NEAR:
            return False
        if ycbcr and np.abs(shown - wrong).max() <= _NEAR:
            return True
        raise WorkError(
            f"colours: its frames seem to be {'YCbCr' if ycbcr else 'RGB'}, its header says {instance.photometric}, "
            "and the reader shows them otherwise; write the slide anew, with a header that says what it holds"
        )
    return False


def _decoded(instance: _Instance, packed: bytes) -> _Frame:
    if instance.syntax in _JPEG:
        plain, converted = (
            imagecodecs.jpeg8_decode(packed, colorspace=kind, outcolorspace="RGB") for kind in ("RGB", "YCBCR")
        )
        return _Frame(plain, converted, jpeg_is_ycbcr(packed))
    plain = imagecodecs.jpeg2k_decode(packed)
    converted = np.asarray(Image.frombytes("YCbCr", plain.shape[1::-1], plain.tobytes()).convert("RGB"))
    return _Frame(plain, converted, False if _transforms(packed) else None)


def _transforms(packed: bytes) -> bool:
    """Whether a JPEG 2000 codestream says that its decoder makes RGB: the multiple component transformation of COD."""
    at = packed.find(b"\xff\x52")  # T.800, A.6.1
    return at >= 0 and packed[at + 8] == 1


def _seen(frames: list[_Frame]) -> bool | None:
    """Whether the brightest places are YCbCr: glass and pale tissue have Cb and Cr near 128, or else G and B as bright.

    None where neither is so of nine in ten of them, or nothing is bright.
    """
    pixels = np.concatenate([frame.plain[::4, ::4].reshape(-1, 3) for frame in frames]).astype(int)
    brightest = max(_BRIGHT, np.percentile(pixels[:, 0], 99) - _WITHIN)
    others = pixels[pixels[:, 0] >= brightest][:, 1:]
    if len(others) < _SOME:
        return None
    if (np.abs(others - 128) < _GREY).all(axis=1).mean() >= _MOST:
        return True
    return False if (others > 128 + _GREY).all(axis=1).mean() >= _MOST else None


def _stated(instance: _Instance) -> bool:
    """What the header says, where frames do not contradict it."""
    return instance.photometric.startswith("YBR")


def _mean(pixels: Any) -> np.ndarray:
    return np.asarray(pixels, float).reshape(-1, 3).mean(axis=0)
