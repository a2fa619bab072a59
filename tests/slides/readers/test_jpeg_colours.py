"""JPEG tiles that say something else of their colours than the TIFF does."""

import imagecodecs
import numpy as np
import pytest
import tifffile

from raysweep.slides.readers.jpeg_colours import jpeg_is_ycbcr
from raysweep.slides.slide import Slide

from ..slidemaker import tissue
from .test_dicom_colours import jpeg

TILE = 128
RGB = tissue(300, 200)
APERIO = "Aperio Image Library v12\r\n300x200|MPP = 0.5"


def pieces(*, cut=False):
    padded = np.pad(RGB, ((0, 56), (0, 84), (0, 0)), mode="edge")
    whole = [padded[y : y + TILE, x : x + TILE] for y in range(0, 200, TILE) for x in range(0, 300, TILE)]
    return [RGB[y : y + TILE, x : x + TILE] for y in range(0, 200, TILE) for x in range(0, 300, TILE)] if cut else whole


def write(path, packed, photometric, missing=None, **keys):
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(iter(packed), shape=RGB.shape, dtype=np.uint8, tile=(TILE, TILE), compression="jpeg",
                   photometric="ycbcr", metadata=None, resolution=(20000, 20000), resolutionunit=3, **keys)  # fmt: skip
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tags = tiff.pages[0].tags
        tags["PhotometricInterpretation"].overwrite(photometric)
        if missing is not None:
            tags["TileByteCounts"].overwrite([0 if i == missing else n for i, n in enumerate(tags[325].value)])
    return path


@pytest.mark.parametrize("missing", [None, 1])  # such a file is not read by the same reader
@pytest.mark.parametrize("aperio", [False, True])
@pytest.mark.parametrize("photometric", [2, 6], ids=["RGB", "YCbCr"])
@pytest.mark.parametrize(
    ("held", "mark", "chroma", "names"),
    [("YCBCR", "jfif", "444", b"\1\2\3"), ("YCBCR", "adobe", "444", b"\1\2\3"), ("YCBCR", None, "420", b"\1\2\3"),
     ("RGB", "adobe", "444", b"\1\2\3"), ("RGB", None, "444", b"RGB")],
)  # fmt: skip
def test_what_the_tile_says_counts(tmp_path, held, mark, chroma, names, photometric, aperio, missing):
    packed = [jpeg(piece, held, mark, chroma, names) for piece in pieces()]
    assert jpeg_is_ycbcr(packed[0]) == (held == "YCBCR")
    about = {"description": APERIO} if aperio else {}
    path = write(tmp_path / ("a.svs" if aperio else "a.tif"), packed, photometric, missing, **about)
    with Slide(path) as slide:
        seen = slide.read(0, 0, 0, *slide.size).astype(int)
    if missing is not None:
        assert (seen[:TILE, TILE : 2 * TILE] == 255).all()
        seen[:TILE, TILE : 2 * TILE] = RGB[:TILE, TILE : 2 * TILE]
    assert np.abs(seen - RGB).mean() < 6


def test_a_tile_that_does_not_say_is_what_the_tiff_says(tmp_path):
    packed = [jpeg(piece, "RGB", None) for piece in pieces()]
    assert jpeg_is_ycbcr(packed[0]) is None
    with Slide(write(tmp_path / "a.tif", packed, 2)) as slide:
        assert np.abs(slide.read(0, 0, 0, *slide.size).astype(int) - RGB).mean() < 4


def test_tiles_that_are_cut_at_the_edge(tmp_path):
    packed = [imagecodecs.jpeg8_encode(np.ascontiguousarray(piece), level=95) for piece in pieces(cut=True)]
    with Slide(write(tmp_path / "a.tif", packed, 6)) as slide:
        assert slide.reader.name == "jpeg-tiff"
        assert np.abs(slide.read(0, 0, 0, *slide.size).astype(int) - RGB).mean() < 4
