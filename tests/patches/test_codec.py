"""Pictures to pixels."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from raysweep.errors import WorkError
from raysweep.patches.codec import decode, encode_jpeg


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def smooth(width: int = 40, height: int = 30) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([x, y, 255 - x], axis=2).astype(np.uint8)


def test_jpeg_there_and_back():
    data = encode_jpeg(smooth(), 95)
    assert data[:3] == b"\xff\xd8\xff"
    assert abs(decode(data).astype(int) - smooth()).mean() < 3
    assert len(encode_jpeg(smooth(), 50)) < len(data)


def test_a_slides_own_tile_may_be_padded_and_may_not_be_damaged():
    data = encode_jpeg(smooth(), 95)
    np.testing.assert_array_equal(decode(data[:-2] + bytes(20) + data[-2:]), decode(data))
    with pytest.raises(WorkError, match="cannot be decoded"):
        decode(data[:-2] + 20 * b"\xab" + data[-2:])


def test_chroma_is_halved():
    assert Image.open(io.BytesIO(encode_jpeg(smooth(), 90))).layer[0][1:3] == (2, 2)


def test_a_view_of_a_larger_picture_can_be_encoded():
    large = smooth(80, 60)
    np.testing.assert_array_equal(
        decode(encode_jpeg(large[10:40, 20:60], 90)), decode(encode_jpeg(large[10:40, 20:60].copy(), 90))
    )


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_lossless_kinds_are_exact(kind):
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(smooth()), kind)), smooth())


def test_other_modes_become_rgb():
    grey = smooth()[..., 0]
    for picture in (Image.fromarray(grey), Image.fromarray(grey).convert("P"), Image.fromarray(grey).convert("LA")):
        np.testing.assert_array_equal(decode(encoded(picture, "PNG")), np.repeat(grey[..., None], 3, 2))
    deep = Image.fromarray(grey.astype(np.uint16) * 256 + 7)
    np.testing.assert_array_equal(decode(encoded(deep, "PNG")), np.repeat(grey[..., None], 3, 2))
    jpeg = decode(encoded(Image.fromarray(grey), "JPEG", quality=100))
    assert (jpeg[..., 0] == jpeg[..., 2]).all()
    cmyk = decode(encoded(Image.fromarray(smooth()).convert("CMYK"), "JPEG", quality=100))
    assert abs(cmyk.astype(int) - smooth()).mean() < 6


def test_transparent_is_white():
    rgba = np.dstack([smooth(), np.zeros((30, 40), np.uint8)])
    rgba[:10, :, 3] = 255
    found = decode(encoded(Image.fromarray(rgba), "PNG"))
    np.testing.assert_array_equal(found[:10], smooth()[:10])
    assert (found[10:] == 255).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_picture_that_is_cut_off_is_refused(kind):
    data = encoded(Image.fromarray(smooth(200, 200)), kind)
    with pytest.raises(WorkError, match="picture cannot be decoded"):
        decode(data[: len(data) // 2])


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]))
@settings(deadline=None)
def test_junk_is_refused(junk, start):
    with pytest.raises(WorkError):
        decode(start + junk)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_huge_picture_is_refused_before_it_is_decoded(kind, monkeypatch):
    data = encoded(Image.new("RGB", (300, 200)), kind)
    assert decode(data).shape == (200, 300, 3)
    monkeypatch.setattr("raysweep.patches.codec.MAX_PIXELS", 300 * 200 - 1)
    with pytest.raises(WorkError, match="300 x 200 pixels is larger than"):
        decode(data)
