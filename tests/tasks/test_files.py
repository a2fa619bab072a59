"""Pictures and masks of every form that people store."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps, PngImagePlugin, features

from raysweep.errors import WorkError
from raysweep.tasks.files import IMAGE_SUFFIXES, UnfitError, load_image, load_mask, raw_size


def save(tmp_path, picture, name="x.png", **options):
    picture.save(tmp_path / name, **options)
    return tmp_path / name


def test_grey_palette_and_cmyk_become_rgb(tmp_path):
    grey = Image.fromarray(np.full((4, 5), 90, np.uint8))
    for picture, name in ((grey, "x.png"), (grey.convert("P"), "y.png"), (grey.convert("CMYK"), "z.tif")):
        loaded = load_image(save(tmp_path, picture, name))
        assert loaded.mode == "RGB"
        assert loaded.size == (5, 4)
        assert np.abs(np.asarray(loaded).astype(int) - 90).max() <= 1


def test_transparent_parts_become_white(tmp_path):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2, :, 3] = 255
    loaded = np.asarray(load_image(save(tmp_path, Image.fromarray(pixels))))
    assert (loaded[:2] == 0).all()
    assert (loaded[2:] == 255).all()


def test_sixteen_bit_pictures_are_refused(tmp_path):
    with pytest.raises(WorkError, match="not an 8-bit picture"):
        load_image(save(tmp_path, Image.fromarray(np.full((4, 4), 4000, np.uint16))))


@pytest.mark.parametrize("name", ["x.tif", "x.png"])
def test_colours_of_sixteen_bits_are_refused_where_what_they_show_would_be_lost(tmp_path, name):
    wide = np.full((4, 5, 3), 300, np.uint16)
    if name == "x.tif":
        tifffile.imwrite(tmp_path / name, wide, photometric="rgb")
    else:
        (tmp_path / name).write_bytes(_png_of_sixteen_bits(wide))
    with pytest.raises(UnfitError, match=r"not an 8-bit picture \(16 bits a channel, of which only the lower ones are"):
        load_image(tmp_path / name)
    with pytest.raises(UnfitError, match="several channels of 16 bits, of which 8 would be lost"):
        load_mask(tmp_path / name)


def _png_of_sixteen_bits(pixels):
    """PNG, 11.2: what Pillow reads and does not write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_a_picture_of_which_nothing_can_be_seen_is_refused(tmp_path):
    with pytest.raises(UnfitError, match="all of it is transparent"):
        load_image(save(tmp_path, Image.fromarray(np.full((4, 4, 4), [9, 9, 9, 0], np.uint8))))


@pytest.mark.parametrize(
    ("data", "says"), [(b"", "it is empty"), (b"version https://git-lfs.github.com/spec/v1", "LFS")]
)
def test_what_stands_in_the_place_of_a_picture_is_said(tmp_path, data, says):
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(WorkError, match=says):
        load_image(tmp_path / "x.png")


def test_greys_of_a_palette_are_not_taken_for_other_numbers(tmp_path):
    truth = np.array([[0, 1], [1, 1]], np.uint8)
    quantised = Image.fromarray(truth * 255).convert("RGB").quantize(2)  # the colour that is seen most comes first
    with pytest.raises(UnfitError, match=r"another order than its numbers \(0 is drawn as 255, 1 is drawn as 0\)"):
        load_mask(save(tmp_path, quantised))
    upright = Image.fromarray(truth, mode="L").convert("P")
    upright.putpalette([0, 0, 0, 255, 255, 255])
    assert load_mask(save(tmp_path, upright)).tolist() == truth.tolist()


def test_masks_keep_their_numbers(tmp_path):
    wide = np.array([[0, 300], [65535, 1]], np.uint16)
    assert np.array_equal(load_mask(save(tmp_path, Image.fromarray(wide))), wide)
    palette = Image.fromarray(np.array([[0, 2], [1, 0]], np.uint8), mode="L").convert("P")
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    assert load_mask(save(tmp_path, palette)).tolist() == np.asarray(palette).tolist()
    one = Image.fromarray(np.array([[True, False]]))
    assert load_mask(save(tmp_path, one)).tolist() == [[1, 0]]
    grey = np.repeat(np.array([[3, 0], [1, 2]], np.uint8)[..., None], 3, axis=2)
    assert load_mask(save(tmp_path, Image.fromarray(grey))).tolist() == [[3, 0], [1, 2]]
    assert load_mask(save(tmp_path, Image.fromarray(grey[..., 0]).convert("LA"))).tolist() == [[3, 0], [1, 2]]


def test_colour_and_fractional_masks_are_refused(tmp_path):
    colour = np.zeros((2, 2, 3), np.uint8)
    colour[0, 0] = (255, 0, 0)
    with pytest.raises(WorkError, match="colour picture"):
        load_mask(save(tmp_path, Image.fromarray(colour)))
    with pytest.raises(WorkError, match="no class numbers"):
        load_mask(save(tmp_path, Image.fromarray(np.full((2, 2), 0.5, np.float32)), "x.tif"))


_UPRIGHT = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
_GREY = np.random.default_rng(0).integers(0, 3, (16, 24), np.uint8)


def _exif(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("name", "keep"), [("x.png", {}), ("x.webp", {"lossless": 1}), ("x.tif", {}), ("x.jpg", {})])
def test_images_are_turned_as_viewers_turn_them(tmp_path, orientation, name, keep):
    path = save(tmp_path, Image.fromarray(_UPRIGHT), name, exif=_exif(orientation), **keep)
    with Image.open(path) as picture:
        expected = ImageOps.exif_transpose(picture).convert("RGB")
    assert expected.size == ((16, 24) if orientation > 4 else (24, 16))
    assert np.array_equal(np.asarray(load_image(path)), np.asarray(expected))
    assert raw_size(path) == (24, 16)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_orientations_that_mean_nothing_or_cannot_be_read_turn_nothing(tmp_path):
    broken = b"Exif\x00\x00II*\x00\xff\xff\xff\xff", b"Exif\x00\x00??"
    for name, exif in (("x.png", _exif(9)), ("y.jpg", broken[0]), ("z.jpg", broken[1])):
        assert load_image(save(tmp_path, Image.fromarray(_UPRIGHT), name, exif=exif)).size == (24, 16)


def test_masks_stay_as_they_are(tmp_path):
    path = save(tmp_path, Image.fromarray(_GREY), exif=_exif(6))
    assert np.array_equal(load_mask(path), _GREY)


def test_webp_is_read_where_pillow_can(tmp_path):
    assert (".webp" in IMAGE_SUFFIXES) == features.check("webp")
    path = save(tmp_path, Image.fromarray(_UPRIGHT), "x.webp", lossless=True)
    assert np.array_equal(np.asarray(load_image(path)), _UPRIGHT)
    assert np.array_equal(load_mask(save(tmp_path, Image.fromarray(_GREY), "m.webp", lossless=True)), _GREY)


@pytest.mark.parametrize(
    ("name", "form", "says", "options"),
    [
        ("x.jpg", "JPEG", "is a JPEG,", {}),
        ("x.png", "JPEG", "is a JPEG,", {}),  # whatever its suffix says
        ("x.tif", "TIFF", "is a TIFF with JPEG compression", {"compression": "jpeg"}),
        ("x.webp", "WEBP", "is a lossy WebP", {"quality": 90}),
        ("x.webp", "WEBP", "is a lossy WebP", {"quality": 90, "exif": _exif(1)}),  # the pixels are not its first chunk
        ("x.jp2", "JPEG2000", "is a JPEG 2000", {}),
    ],
)
def test_masks_that_were_compressed_with_losses_are_refused_by_their_format(tmp_path, name, form, says, options):
    path = save(tmp_path, Image.fromarray(_GREY * 100), name, format=form, **options)
    with pytest.raises(UnfitError, match=says):
        load_mask(path)


def test_files_of_several_pages_are_refused_with_their_number(tmp_path):
    pages = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (0, 1, 2)]
    for name in ("x.tif", "x.gif"):
        path = save(tmp_path, pages[0], name, save_all=True, append_images=pages[1:])
        for load in (load_image, load_mask):
            with pytest.raises(UnfitError, match="holds 3 pages"):
                load(path)
    assert load_mask(save(tmp_path, pages[1])).max() == 1


def test_a_pyramid_is_one_image(tmp_path):
    with tifffile.TiffWriter(tmp_path / "x.tif") as writer:
        writer.write(_UPRIGHT, photometric="rgb")
        writer.write(_UPRIGHT[::2, ::2], photometric="rgb", subfiletype=1)
    assert np.array_equal(np.asarray(load_image(tmp_path / "x.tif")), _UPRIGHT)


def test_masks_with_channels_are_refused_in_words(tmp_path):
    one_hot = np.eye(3, dtype=np.uint8)[_GREY]
    for values in (one_hot, one_hot * 255):
        with pytest.raises(UnfitError, match="one-hot, with a channel for each of 3 classes"):
            load_mask(save(tmp_path, Image.fromarray(values)))
    black = np.full((*one_hot.shape[:2], 4), 255, np.uint8)
    for values, mode, says in (
        (np.concatenate([one_hot * 0, (one_hot[..., :1] * 255)], 2), "RGBA", "alpha channel"),
        (np.concatenate([one_hot * 0, one_hot[..., :1]], 2), "CMYK", "colour picture"),
        (black - np.array([0, 0, 7, 0], np.uint8), "RGBA", "colour picture"),
    ):
        picture = Image.frombytes(mode, (24, 16), np.ascontiguousarray(values).tobytes())
        with pytest.raises(UnfitError, match=says):
            load_mask(save(tmp_path, picture, "x.tif"))


def test_a_channel_of_a_coloured_mask(tmp_path):
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    path = save(tmp_path, Image.fromarray(np.stack([values, 0 * values, 9 - 0 * values], axis=-1)))
    assert (load_mask(path, "red") == values).all()
    assert (load_mask(path, "blue") == 9).all()
    with pytest.raises(UnfitError, match="colour picture"):
        load_mask(path)


def test_no_file_of_another_program_is_opened(tmp_path):
    """Pillow would give PostScript to Ghostscript, whatever the file is called."""
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    for load in (load_image, load_mask, raw_size):
        with pytest.raises(WorkError, match="not a picture in a format that is read"):
            load(tmp_path / "x.png")


@pytest.mark.parametrize("mode", ["1", "P", "RGB"])
def test_a_picture_that_claims_to_be_huge_is_refused_before_it_is_unpacked(tmp_path, mode):
    path = save(tmp_path, Image.new(mode, (64, 64)))
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    path.write_bytes(data)
    for load in (load_image, load_mask):
        with pytest.raises((WorkError, Image.DecompressionBombError), match="3600000000 pixels"):
            load(path)


def test_text_of_a_picture_that_unpacks_to_far_more_than_it_is(tmp_path):
    notes = PngImagePlugin.PngInfo()
    notes.add_text("note", "x" * 2**28, zip=True)
    path = save(tmp_path, Image.new("RGB", (8, 8)), pnginfo=notes)
    assert path.stat().st_size < 10**6
    with pytest.raises((OSError, ValueError, WorkError)):
        load_image(path)
