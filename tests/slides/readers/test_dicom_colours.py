"""Colours of DICOM slides whose headers say something else than their frames hold."""

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from raysweep.errors import WorkError
from raysweep.slides.readers.by_openslide import OpenSlideReader
from raysweep.slides.slide import Slide

from ..dicom_slides import JPEG2000, write_dicom_slide
from ..slidemaker import slide_with_tissue

TILE, SIZE = 128, (256, 256)
PIXELS = slide_with_tissue(*SIZE, (40, 30, 220, 200), 1)


def tiles(rgb: np.ndarray) -> list[np.ndarray]:
    return [rgb[y : y + TILE, x : x + TILE] for y in range(0, SIZE[1], TILE) for x in range(0, SIZE[0], TILE)]


def ycbcr(rgb: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(rgb).convert("YCbCr"))


def jpeg(rgb: np.ndarray, held: str, mark: str | None, chroma: str = "444", names: bytes = b"\1\2\3") -> bytes:
    """A frame that holds `held` (YCBCR or RGB), with this mark alone (jfif, adobe, none)."""
    if chroma == "444":
        values = rgb if held == "RGB" else ycbcr(rgb)
        packed = imagecodecs.jpeg8_encode(values, level=95, colorspace="RGB", outcolorspace="RGB")
    else:  # which the library makes of YCbCr alone
        packed = imagecodecs.jpeg8_encode(np.ascontiguousarray(rgb), level=95, subsampling=chroma)
    return marked(packed, held, mark, names)


def marked(packed: bytes, held: str, mark: str | None, names: bytes) -> bytes:
    """The same with another mark, and other names of its components in the headers of frame and scan."""
    kept, at = b"", 2
    while packed[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(packed[at + 2 : at + 4], "big")
        segment = bytearray(packed[at:end])
        if segment[1] == 0xC0:
            segment[10::3] = names
        if segment[1] not in (0xE0, 0xEE):
            kept += bytes(segment)
        at = end
    scan = bytearray(packed[at:])
    scan[5:11:2] = names
    marks = {
        None: b"",
        "jfif": b"\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0",
        "adobe": b"\xff\xee\x00\x0eAdobe\0\x64\0\0\0\0" + (b"\1" if held == "YCBCR" else b"\0"),
    }
    return b"\xff\xd8" + marks[mark] + kept + bytes(scan)


def j2k(rgb: np.ndarray, held: str, transform: bool) -> bytes:
    values = rgb if held == "RGB" else ycbcr(rgb)
    return imagecodecs.jpeg2k_encode(values, level=0, codecformat="j2k", mct=transform, reversible=True)


def off(path) -> float:
    """How far the slide's mean colours are from those that went in, of 255."""
    with Slide(path) as slide:
        seen = slide.read(0, 0, 0, *SIZE)
    assert seen.shape == PIXELS.shape
    return float(np.abs(seen.astype(float) - PIXELS).mean(axis=(0, 1)).max())


@pytest.mark.parametrize("header", ["RGB", "YBR_FULL_422"])
@pytest.mark.parametrize(
    ("held", "mark", "names"),
    [
        ("YCBCR", "jfif", b"\1\2\3"),
        ("YCBCR", "adobe", b"\1\2\3"),
        ("YCBCR", None, b"\1\2\3"),
        ("YCBCR", None, b"\0\1\2"),
        ("RGB", "adobe", b"\1\2\3"),
        ("RGB", "adobe", b"RGB"),
        ("RGB", None, b"RGB"),
        ("RGB", None, b"\0\1\2"),
        ("RGB", None, b"\1\2\3"),
    ],
)
def test_jpegs_come_out_right_or_are_refused(tmp_path, header, held, mark, names):
    frames = [jpeg(tile, held, mark, names=names) for tile in tiles(PIXELS)]
    path = write_dicom_slide(tmp_path / "a.dcm", frames, SIZE, TILE, header)
    if header != "RGB" and held == "RGB":
        with pytest.raises(WorkError, match=r"^colours: its frames seem to be RGB, its header says YBR_FULL_422"):
            Slide(path)
    else:
        assert off(path) < 4


@pytest.mark.parametrize("chroma", ["422", "420"])
def test_chroma_of_fewer_pixels_is_chroma(tmp_path, chroma):
    frames = [jpeg(tile, "YCBCR", None, chroma) for tile in tiles(PIXELS)]
    assert off(write_dicom_slide(tmp_path / "a.dcm", frames, SIZE, TILE, "RGB")) < 4


@pytest.mark.parametrize("header", ["RGB", "YBR_ICT", "YBR_RCT"])
@pytest.mark.parametrize(("held", "transform"), [("RGB", True), ("RGB", False), ("YCBCR", False)])
def test_jpeg_2000_comes_out_right(tmp_path, header, held, transform):
    frames = [j2k(tile, held, transform) for tile in tiles(PIXELS)]
    path = write_dicom_slide(tmp_path / "a.dcm", frames, SIZE, TILE, header, syntax=JPEG2000)
    assert off(path) < 4


def test_a_slide_of_scattered_frames(tmp_path):
    """Where the first one lies is looked up; elsewhere the colours are others."""
    places = [(TILE, TILE), (0, TILE), (TILE, 0), (0, 0)]
    packed = dict(zip([(0, 0), (TILE, 0), (0, TILE), (TILE, TILE)], tiles(PIXELS), strict=True))
    frames = [jpeg(packed[place], "YCBCR", "jfif") for place in places]
    assert off(write_dicom_slide(tmp_path / "a.dcm", frames, SIZE, TILE, "RGB", places=places)) < 4


def test_what_shows_as_neither_is_refused(tmp_path, monkeypatch):
    frames = [jpeg(tile, "YCBCR", "jfif") for tile in tiles(PIXELS)]
    path = write_dicom_slide(tmp_path / "a.dcm", frames, SIZE, TILE, "RGB")
    read = OpenSlideReader._read
    monkeypatch.setattr(OpenSlideReader, "_read", lambda self, *box: 255 - read(self, *box))
    told = r"^colours: its frames seem to be YCbCr, its header says RGB, and the reader shows them otherwise"
    with pytest.raises(WorkError, match=told):
        Slide(path)


def test_a_level_in_two_files(tmp_path):
    """A concatenation: the frames of the second file go on where those of the first end. Their colours differ."""
    packed = [jpeg(tile, "YCBCR", "jfif") for tile in tiles(PIXELS)]
    for part, frames in enumerate((packed[:2], packed[2:])):
        path = write_dicom_slide(tmp_path / f"{part}.dcm", frames, SIZE, TILE, "YBR_FULL_422", part=(part, 2, 2 * part))
    assert off(path) < 4


def test_a_file_that_ends_among_its_frames(tmp_path):
    path = write_dicom_slide(
        tmp_path / "a.dcm", [jpeg(tile, "YCBCR", "jfif") for tile in tiles(PIXELS)], SIZE, TILE, "RGB"
    )
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(WorkError, match=r"^truncated: a\.dcm ends in the middle of its frames$"):
        Slide(path)
