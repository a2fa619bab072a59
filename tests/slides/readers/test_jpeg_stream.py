"""JPEG tiles that are filled up, and those that are damaged."""

from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import tifffile

from raysweep.errors import WorkError
from raysweep.patches.codec import without_padding
from raysweep.slides.readers.jpeg_tiff import JpegTiffReader

from ..slidemaker import tissue

EOI = b"\xff\xd9"
TILE = 128


def write_tiles(path: Path, tiles: list[bytes]) -> Path:
    """A slide of one row of JPEG tiles."""
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(
            iter(tiles), shape=(TILE, TILE * len(tiles), 3), dtype=np.uint8, tile=(TILE, TILE), compression="jpeg",
            photometric="ycbcr", subsampling=(2, 2), metadata=None,
        )  # fmt: skip
    return path


def read(path: Path, tile: int) -> np.ndarray:
    reader = JpegTiffReader(path)
    try:
        return next(reader.crops(0, np.array([[tile * TILE, 0, (tile + 1) * TILE, TILE]])))
    finally:
        reader.close()


def pictures() -> list[np.ndarray]:
    """Tissue, glass (which often ends in a byte of zeros), noise."""
    rng = np.random.default_rng(0)
    plain = [np.full((TILE, TILE, 3), value, np.uint8) for value in (0, 37, 128, 240, 255)]
    corners = [plain[3].copy() for _ in range(60)]
    for corner in corners:
        corner[-8:, -8:] = rng.integers(0, 256, (8, 8, 3))
    noise = rng.integers(0, 256, (TILE, TILE, 3), dtype=np.uint8)
    return [*plain, *corners, noise, *(tissue(TILE, TILE, seed) for seed in range(20))]


@pytest.mark.parametrize("padding", [b"\0", b"\xff", b"\xff\0"], ids=["00", "ff", "ff00"])
@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 64, 1000])
def test_padding_before_the_end_is_harmless(tmp_path, padding, n):
    tiles = [simplejpeg.encode_jpeg(each, 85, "RGB", "420") for each in pictures()]
    padded = write_tiles(tmp_path / "a.tif", [tile[:-2] + n * padding + EOI for tile in tiles])
    for number, tile in enumerate(tiles):
        np.testing.assert_array_equal(read(padded, number), simplejpeg.decode_jpeg(tile, "RGB"))


def test_what_a_decoder_says_of_padding():
    """libjpeg-turbo reads up to 7 bytes ahead and says nothing of these, nor of 0xFF, which may fill up any marker."""
    tile = simplejpeg.encode_jpeg(tissue(TILE, TILE), 85, "RGB", "420")
    simplejpeg.decode_jpeg(tile[:-2] + 1000 * b"\xff" + EOI, "RGB")
    simplejpeg.decode_jpeg(tile + 100 * b"\0", "RGB")
    for padding in (b"\0", b"\xab", b"\xff\0"):
        with pytest.raises(ValueError, match=r" extraneous bytes before marker 0xd9$"):
            simplejpeg.decode_jpeg(tile[:-2] + 8 * padding + EOI, "RGB")


def test_what_is_no_padding_stays():
    assert list(without_padding(b"abc\xff\xd9")) == [b"abc\xff\xd9"]
    assert list(without_padding(b"abc\0\0\0\0\xff\xd9zz")) == [b"abc" + kept * b"\0" + EOI for kept in range(3)]
    assert list(without_padding(b"ab\xff\0\0\0\0\xff\xd9")) == [
        b"ab" + kept + EOI for kept in (b"", b"\xff", b"\xff\0")
    ]


@pytest.mark.parametrize("kind", ["random", "zeros", "ones", "another tile's", "zeros to the end"])
def test_a_tile_of_which_a_part_was_overwritten_is_damaged(tmp_path, test_data, kind):
    """Where the decoder is out of step it often ends early: what is left over then are pixels, and no padding.

    One in ten comes into step again and ends where it should; of these a JPEG says nothing.
    """
    reader = JpegTiffReader(test_data / "wsi" / "CMU-1-Small-Region.svs")
    rng = np.random.default_rng(0)
    silent = told = left_over = 0
    for number in range(130):
        tile = reader.tile_jpeg(0, number)
        start = tile.index(b"\xff\xda") + 14
        if len(tile) < start + 200:
            continue
        at = int(rng.integers(start, len(tile) - 66)) if kind != "zeros to the end" else len(tile) - 66
        other = tile[start : start + 64]
        new = {"random": rng.bytes(64).replace(b"\xff", b"\xfe"), "ones": 64 * b"\xff", "another tile's": other}
        damaged = tile[:at] + new.get(kind, bytes(64)) + tile[at + 64 :]
        try:
            simplejpeg.decode_jpeg(damaged, "RGB")
            silent += 1
            continue
        except ValueError as error:
            left_over += "extraneous bytes" in str(error)
        path = tmp_path / "a.tif"
        with tifffile.TiffWriter(path) as tiff:
            tiff.write(iter([damaged] * 2), shape=(240, 480, 3), dtype=np.uint8, tile=(240, 240), compression="jpeg",
                       photometric="ycbcr", subsampling=(2, 2), metadata=None)  # fmt: skip
        one = JpegTiffReader(path)
        with pytest.raises(WorkError, match=r"^pixels cannot be read at level 0, x 240, y 0 \("):
            next(one.crops(0, np.array([[300, 0, 400, 100]])))
        one.close()
        told += 1
    reader.close()
    assert told > 100
    assert silent < 0.2 * told
    if kind in ("random", "another tile's"):
        assert left_over > 5
