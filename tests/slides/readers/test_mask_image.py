"""Mask slides: every pixel where it belongs, and no mask that would lie."""

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from raysweep.errors import WorkError
from raysweep.slides.readers import mask_image as mask_module
from raysweep.slides.readers.mask_image import MaskSlide

from ..labels.makers import write_mask


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Random values, uint8."""
    return np.random.default_rng(seed).integers(0, 6, (height, width)).astype(np.uint8)


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("patch_scale", [1, 2, 4, 8])
def test_pixels_of_the_patch_are_those_of_the_mask(tmp_path, scale, patch_scale):
    """A slide of 480 x 400, a mask `scale` times smaller and patches of pixels `patch_scale` times as large."""
    values = picture(400 // scale, 480 // scale)
    slide = values.repeat(scale, 0).repeat(scale, 1)  # the value of each level-0 pixel
    with MaskSlide(write_mask(tmp_path / "m.tiff", values), (480, 400)) as mask:
        assert mask.size == (480 // scale, 400 // scale)
        found = mask.values(np.array([80.0, 96, 240, 176]), 160 // patch_scale, 80 // patch_scale)
    # Of two mask pixels beside a centre the later one counts.
    half = patch_scale // 2
    np.testing.assert_array_equal(found, slide[96:176, 80:240][half::patch_scale, half::patch_scale])


@given(st.integers(20, 300), st.integers(20, 300), st.floats(1, 9), st.integers(1, 60), st.integers(1, 60), st.data())
def test_each_pixel_is_the_one_under_its_centre(tmp_path_factory, width, height, scale, px_x, px_y, data):
    slide_size = round(width * scale), round(height * scale)
    left, top = (data.draw(st.floats(0, size - 10)) for size in slide_size)
    right, bottom = (data.draw(st.floats(low + 1, size)) for low, size in zip((left, top), slide_size, strict=True))
    values = np.arange(width * height, dtype=np.uint32).reshape(height, width)
    path = tmp_path_factory.mktemp("m") / "m.tiff"
    tifffile.imwrite(path, values, tile=(32, 16))
    with MaskSlide(path, slide_size) as mask:
        found = mask.values(np.array([left, top, right, bottom]), px_x, px_y)
    rows, columns = np.divmod(found, width)
    x, y = left + (np.arange(px_x) + 0.5) * (right - left) / px_x, top + (np.arange(px_y) + 0.5) * (bottom - top) / px_y
    for centers, index, size, slide in ((x, columns[0], width, slide_size[0]), (y, rows[:, 0], height, slide_size[1])):
        at = centers * size / slide  # in pixels of the mask: inside [index, index + 1]
        assert ((at >= index - 1e-5) & (at <= index + 1 + 1e-5)).all()
    assert (rows == rows[:, :1]).all()
    assert (columns == columns[:1]).all()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tile": None},
        {"channels": 1},
        {"compression": None},
        {"compression": "lzw", "predictor": True},
        {"bigtiff": True, "byteorder": ">"},
        {"planarconfig": "separate"},
        {"compression": "zstd", "levels": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiffs_of_all_kinds(tmp_path, options, dtype):
    values = picture(150, 170).astype(dtype) * dtype(1 if dtype == np.uint8 else 1000)
    if "bigtiff" in options:
        tifffile.imwrite(tmp_path / "m.tiff", np.stack([values] * 3, -1), tile=(64, 64), photometric="rgb", **options)
    else:
        write_mask(tmp_path / "m.tiff", values, **options)
    with MaskSlide(tmp_path / "m.tiff", (170, 150)) as mask:
        np.testing.assert_array_equal(mask.values(np.array([0.0, 0, 170, 150]), 170, 150), values)
        np.testing.assert_array_equal(mask.values(np.array([60.0, 60, 70, 140]), 10, 80), values[60:140, 60:70])


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGB", "RGBA", "LA", "I;16"])
def test_pngs_of_all_kinds(tmp_path, mode):
    values = picture(60, 50) % 2 if mode == "1" else picture(60, 50)
    if mode == "P":  # the palette's colours mean nothing
        image = Image.fromarray(values)
        image.putpalette([255, 0, 0] * 256)
    elif mode == "I;16":
        values = values.astype(np.uint16) * 1000
        image = Image.fromarray(values)
    elif mode == "1":
        image = Image.fromarray(values.astype(bool))
    else:
        bands = {"L": 1, "RGB": 3, "RGBA": 4, "LA": 2}[mode]
        image = Image.fromarray(np.stack([values] + [values * 0] * (bands - 1), -1).squeeze(), mode)
    image.save(tmp_path / "m.png")
    with MaskSlide(tmp_path / "m.png", (100, 120)) as mask:
        found = mask.values(np.array([0.0, 0, 100, 120]), 50, 60)
    assert found.dtype.kind == "u"
    np.testing.assert_array_equal(found, values)


def test_channels(tmp_path):
    pixels = np.stack([np.full((40, 40), value, np.uint8) for value in (7, 8, 9)], -1)
    tifffile.imwrite(tmp_path / "m.tiff", pixels, photometric="rgb", tile=(16, 16))
    Image.fromarray(pixels).save(tmp_path / "m.png")
    for name in ("m.tiff", "m.png"):
        for channel, value in (("red", 7), ("green", 8), ("blue", 9)):
            with MaskSlide(tmp_path / name, (40, 40), channel) as mask:
                assert (mask.values(np.array([0.0, 0, 40, 40]), 5, 5) == value).all()
    write_mask(tmp_path / "grey.tiff", pixels[..., 0], channels=1)
    with (
        MaskSlide(tmp_path / "grey.tiff", (40, 40), "green") as mask,
        pytest.raises(WorkError, match=r"1 channel\(s\)"),
    ):
        mask.values(np.array([0.0, 0, 40, 40]), 5, 5)


@pytest.mark.parametrize(
    ("mask_size", "slide_size", "fits"),
    [
        ((100, 80), (100, 80), True),
        ((100, 80), (1000, 800), True),
        ((15, 10), (1000, 700), True),  # 1/64: 15.6 x 10.9
        ((100, 80), (1001, 799), True),
        ((500, 400), (504, 400), True),
        ((500, 400), (520, 400), False),
        ((80, 100), (1000, 800), False),
        ((100, 80), (1000, 1000), False),
    ],
)
def test_a_mask_has_the_shape_of_its_slide(tmp_path, mask_size, slide_size, fits):
    path = tmp_path / "m.png"
    Image.new("L", mask_size).save(path)
    with MaskSlide(path, slide_size) as mask:
        for _ in range(2):  # a mask that was refused once is refused again
            if fits:
                assert mask.values(np.array([0.0, 0, 10, 10]), 2, 2).shape == (2, 2)
            else:
                with pytest.raises(WorkError, match=r"m\.png: is at the wrong scale"):
                    mask.values(np.array([0.0, 0, 10, 10]), 2, 2)


def test_lossy_masks_are_refused(tmp_path):
    values = picture(64, 64)
    tifffile.imwrite(tmp_path / "m.tiff", np.stack([values] * 3, -1), compression="jpeg", tile=(32, 32))
    Image.fromarray(values).save(tmp_path / "m.jpg")
    for name in ("m.tiff", "m.jpg"):
        with MaskSlide(tmp_path / name, (64, 64)) as mask, pytest.raises(WorkError, match="is compressed by JPEG"):
            mask.values(np.array([0.0, 0, 10, 10]), 2, 2)


def test_bad_files_are_named(tmp_path):
    good = write_mask(tmp_path / "good.tiff", picture(256, 256), compression="lzw", levels=1).read_bytes()
    (tmp_path / "cut.tiff").write_bytes(b"")
    with tifffile.TiffFile(tmp_path / "good.tiff") as tiff:
        first, last = min(tiff.pages[0].dataoffsets), max(tiff.pages[0].dataoffsets)
    assert first < last
    broken = bytearray(good)
    broken[last : last + 40] = bytes(40)
    (tmp_path / "broken.tiff").write_bytes(broken)
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "half.png").write_bytes(b"")
    Image.fromarray(picture(256, 256)).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:2000])
    tifffile.imwrite(tmp_path / "float.tiff", np.zeros((256, 256), np.float32))
    for name in ("cut.tiff", "broken.tiff", "text.png", "half.png", "float.tiff", "none.tiff"):
        with MaskSlide(tmp_path / name, (256, 256)) as mask, pytest.raises(WorkError, match=rf"mask .*{name}: "):
            mask.values(np.array([0.0, 0, 256, 256]), 256, 256)


def test_a_truncated_tiff_fails_where_it_ends(tmp_path):
    path = tmp_path / "m.tiff"
    write_mask(path, picture(256, 256), compression=None, levels=1)
    with tifffile.TiffFile(path) as tiff:
        last = max(tiff.pages[0].dataoffsets)
    path.write_bytes(path.read_bytes()[: last + 5000])
    with MaskSlide(path, (256, 256)) as mask:
        assert mask.values(np.array([0.0, 0, 64, 64]), 64, 64).shape == (64, 64)
        with pytest.raises(WorkError, match=r"is cut off: piece 15 of 16"):
            mask.values(np.array([192.0, 192, 256, 256]), 64, 64)


def test_only_the_tiles_that_are_asked_for_are_decoded(tmp_path, monkeypatch):
    path = write_mask(tmp_path / "m.tiff", picture(512, 512))
    seen = []
    decode = mask_module._Tiff._decode
    monkeypatch.setattr(mask_module._Tiff, "_decode", lambda self, index: seen.append(index) or decode(self, index))
    with MaskSlide(path, (512, 512)) as mask:
        mask.values(np.array([64.0, 64, 192, 128]), 128, 64)
        assert sorted(seen) == [9, 10]
        mask.values(np.array([64.0, 64, 192, 128]), 32, 32)
        assert len(seen) == 2


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_image_too_large_to_read_whole_is_refused(tmp_path):
    Image.new("1", (12_000, 12_000)).save(tmp_path / "m.png")
    with MaskSlide(tmp_path / "m.png", (12_000, 12_000)) as mask, pytest.raises(WorkError, match="are too many"):
        mask.values(np.array([0.0, 0, 1, 1]), 1, 1)


def refused(path, match, size=(64, 64)):
    with MaskSlide(path, size) as mask, pytest.raises(WorkError, match=match):
        mask.values(np.array([0.0, 0, *size]), *size)


def test_other_ways_to_lose_values(tmp_path):
    values = picture(64, 64) * 40
    Image.fromarray(values).save(tmp_path / "a.webp", quality=80)
    Image.fromarray(values).save(tmp_path / "a.jp2", quality_mode="rates", quality_layers=[20], irreversible=True)
    for kind, keys in (("jpeg2000", {"level": 30}), ("jpegxr", {"level": 50})):
        tifffile.imwrite(tmp_path / f"{kind}.tif", values, tile=(32, 32), compression=kind, compressionargs=keys)
    for name, kind in (("a.webp", "lossy WebP"), ("a.jp2", "lossy JPEG 2000"), ("jpeg2000.tif", "lossy JPEG 2000"),
                       ("jpegxr.tif", "JPEG XR")):  # fmt: skip
        refused(tmp_path / name, f"is compressed by {kind}, which turns values into their neighbours unnoticed")
    Image.fromarray(values).save(tmp_path / "b.webp", lossless=True)
    Image.fromarray(values).save(tmp_path / "b.jp2")
    tifffile.imwrite(tmp_path / "b.tif", values, tile=(32, 32), compression="jpeg2000")
    for name in ("b.webp", "b.jp2", "b.tif"):
        with MaskSlide(tmp_path / name, (64, 64)) as mask:
            np.testing.assert_array_equal(mask.values(np.array([0.0, 0, 64, 64]), 64, 64), values)


@pytest.mark.parametrize("writer", ["tifffile.py", "ImageMagick"])
def test_bits_of_which_0_is_white(tmp_path, writer):
    """tifffile writes True so by itself, and reads it back as 1; other programs mean what they show."""
    bits = picture(64, 64) > 2
    stored = bits if writer == "tifffile.py" else ~bits
    tifffile.imwrite(tmp_path / "m.tif", stored, photometric="miniswhite", software=writer)
    with MaskSlide(tmp_path / "m.tif", (64, 64)) as mask:
        np.testing.assert_array_equal(mask.values(np.array([0.0, 0, 64, 64]), 64, 64), bits)


def test_what_is_not_clear_is_refused(tmp_path):
    values = picture(64, 64)
    tifffile.imwrite(tmp_path / "m.tif", values, photometric="miniswhite")
    refused(tmp_path / "m.tif", r"has 0 for white \(photometric interpretation MINISWHITE\)")
    Image.fromarray(values).convert("CMYK").save(tmp_path / "m.tif")
    refused(tmp_path / "m.tif", "its colours are <PHOTOMETRIC.SEPARATED: 5>; write its values as greys")
    with tifffile.TiffWriter(tmp_path / "m.tif") as tiff:
        for _ in range(3):
            tiff.write(values, contiguous=False)
    refused(tmp_path / "m.tif", "holds 3 images of 64 x 64 pixels, and which one is meant is not clear; keep one")
