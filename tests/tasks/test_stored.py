"""What an image file is stored as."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from raysweep.errors import WorkError
from raysweep.patches.codec import decode
from raysweep.tasks.files import load_image
from raysweep.tasks.reader import Reader
from raysweep.tasks.stored import stored_pictures

_RGB = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


def _save(path: Path, mode: str, **options) -> Path:
    Image.fromarray(_RGB).convert(mode).save(path, **options)
    return path


def _one(path: Path):
    size, pictures = stored_pictures(Reader(None, path.parent), path.name, 64)
    [picture] = pictures
    assert (picture.x, picture.y, picture.width, picture.height) == (0, 0, *size) == (0, 0, 40, 30)
    return picture


@pytest.mark.parametrize(("name", "mode"), [("a.jpg", "RGB"), ("a.jpg", "L"), ("a.png", "RGB"), ("a.png", "L")])
def test_plain_jpeg_and_png_are_stored_byte_for_byte(tmp_path, name, mode):
    path = _save(tmp_path / name, mode)
    assert _one(path).data == path.read_bytes()


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.bmp", "RGB"), ("a.tif", "RGB"), ("a.tif", "L"), ("a.png", "P"), ("a.png", "1"), ("a.png", "RGBA"),
     ("a.png", "LA"), ("a.jpg", "CMYK")],
)  # fmt: skip
def test_other_pictures_become_png_of_the_pixels_that_the_task_sees(tmp_path, name, mode):
    path = _save(tmp_path / name, mode)
    data = _one(path).data
    assert data.startswith(b"\x89PNG")
    assert data != path.read_bytes()
    assert np.array_equal(decode(data), np.asarray(load_image(path)))


def test_16_bits_and_what_is_beside_the_pixels_do_not_stay(tmp_path):
    sixteen = tmp_path / "rgb16.png"
    row = b"\0" + bytes(range(100, 112))  # two pixels of three channels of two bytes
    header = b"\0\0\0\2\0\0\0\1\x10\2\0\0\0"
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(row)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in chunks
    )
    sixteen.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    [picture] = stored_pictures(Reader(None, tmp_path), sixteen.name, 64)[1]
    assert decode(picture.data).tolist() == [[[100, 102, 104], [106, 108, 110]]]
    profile = _save(tmp_path / "a.tif", "RGB", icc_profile=b"x" * 5000)
    with Image.open(io.BytesIO(_one(profile).data)) as image:
        assert "icc_profile" not in image.info
    colour = _save(tmp_path / "colour.png", "RGB", transparency=tuple(_RGB[0, 0].tolist()))
    with Image.open(io.BytesIO(_one(colour).data)) as image:
        assert not image.has_transparency_data
    Image.fromarray(np.full((8, 8), 4000, np.uint16)).save(tmp_path / "grey16.png")
    with pytest.raises(WorkError, match="not an 8-bit picture"):
        stored_pictures(Reader(None, tmp_path), "grey16.png", 64)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp"])
def test_a_file_that_is_cut_off_is_an_error(tmp_path, name):
    path = _save(tmp_path / name, "RGB")
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises((OSError, WorkError)):
        stored_pictures(Reader(None, path.parent), path.name, 64)
    path.write_bytes(b"nothing")
    with pytest.raises((OSError, WorkError)):
        stored_pictures(Reader(None, path.parent), path.name, 64)


@given(st.integers(1, 70), st.integers(1, 70), st.integers(4, 20), st.sampled_from(["png", "jpg"]))
@settings(max_examples=60, deadline=None)
def test_windows_cover_a_large_image_and_only_the_last_ones_overlap(tmp_path_factory, width, height, edge, ending):
    path = tmp_path_factory.mktemp("images") / f"a.{ending}"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)).save(path)
    pixels = np.asarray(load_image(path))
    size, pictures = stored_pictures(Reader(None, path.parent), path.name, edge)
    found = list(pictures)
    assert size == (width, height)
    if max(width, height) <= 2 * edge:
        assert [picture.data for picture in found] == [path.read_bytes()]
        return
    seen = np.zeros((height, width), int)
    for x, y, w, h, data in found:
        assert (w, h) == (min(edge, width), min(edge, height))
        assert np.array_equal(decode(data), pixels[y : y + h, x : x + w])
        seen[y : y + h, x : x + w] += 1
    assert seen.min() == 1
    whole = seen[: max(0, height - edge), : max(0, width - edge)]
    assert (whole == 1).all()
    assert len(found) == -(-width // edge) * -(-height // edge)


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_a_turned_picture_is_stored_upright(tmp_path, name):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = _save(tmp_path / name, "RGB", exif=exif)
    size, [picture] = stored_pictures(Reader(None, path.parent), path.name, 64)
    assert size == (picture.width, picture.height) == (30, 40)
    assert picture.data.startswith(b"\x89PNG")
    assert np.array_equal(decode(picture.data), np.asarray(load_image(path)))
    exif[0x0112] = 1
    assert _one(_save(tmp_path / name, "RGB", exif=exif)).data == (tmp_path / name).read_bytes()
