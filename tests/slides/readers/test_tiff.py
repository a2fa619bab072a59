"""TIFFs as people have them: any compression, byte order, first page, orientation and depth."""

import resource

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from raysweep.errors import WorkError
from raysweep.slides.readers.mask_image import MaskSlide
from raysweep.slides.readers.turned import turned
from raysweep.slides.slide import Slide
from raysweep.slides.tissue.find import NotBrightfield

from ..slidemaker import tissue

RGB = tissue(301, 203)
HALF = np.ascontiguousarray(RGB[::2, ::2])
CM = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}  # 0.5 um
APERIO = "Aperio Image Library v12\r\n301x203|AppMag = 20|MPP = 0.5"
TILED = {"tile": (64, 64)}


def write_ome(path, *, unit="µm", size=0.5, byteorder="<", bigtiff=False, **keys):
    stated = {f"PhysicalSize{axis}": size for axis in "XY"} | {f"PhysicalSize{axis}Unit": unit for axis in "XY"}
    options = {**TILED, "photometric": "rgb", "compression": "lzw", **keys}
    with tifffile.TiffWriter(path, ome=True, byteorder=byteorder, bigtiff=bigtiff) as tiff:
        tiff.write(RGB, subifds=1, metadata={"axes": "YXS", **stated}, **options)
        tiff.write(HALF, subfiletype=1, **options)
    return path


def write(path, *pages, byteorder="<", **keys):
    """Pages, each pixels and their own options."""
    with tifffile.TiffWriter(path, byteorder=byteorder) as tiff:
        for pixels, options in pages:
            tiff.write(pixels, **{"photometric": "rgb", "metadata": None, **CM, **keys, **options})
    return path


def shows(path, pixels, mpp=None, most=0.0):
    """The pixels of level 0, whole and in parts that reach beyond the edge."""
    with Slide(path, mpp=mpp) as slide:
        assert slide.size == pixels.shape[1::-1]
        assert slide.mpp == pytest.approx(0.5)
        assert np.abs(slide.read(0, 0, 0, *slide.size).astype(int) - pixels).mean() <= most
        padded = np.pad(pixels, ((50, 50), (50, 50), (0, 0)), constant_values=255)
        for x, y, width, height in ((-20, 30, 60, 70), (pixels.shape[1] - 40, 100, 77, 130), (63, 65, 2, 90)):
            part = padded[y + 50 : y + 50 + height, x + 50 : x + 50 + width]
            found = slide.read(0, x, y, width, min(height, pixels.shape[0] + 50 - y))
            assert np.abs(found.astype(int) - part).mean() <= most + 1
        return slide.reader.name, slide.level_sizes, slide.mpp_source


@pytest.mark.parametrize(
    "keys",
    [
        *({"compression": name} for name in ("lzw", "zstd", "zlib", "jpeg2000", None)),
        {"tile": None, "rowsperstrip": 13},
        {"tile": None, "compression": None},
        {"byteorder": ">"},
        {"byteorder": ">", "bigtiff": True, "compression": None},
        {"compression": None, "resolution": (72, 72), "resolutionunit": "INCH"},
        {"predictor": True},
        *(
            {"unit": u, "size": n}
            for u, n in [("μm", 0.5), ("nm", 500), ("mm", 5e-4), ("Å", 5000), ("in", 0.5 / 25400)]
        ),
    ],
    ids=str,
)
def test_ome_states_the_scale_however_it_is_stored(tmp_path, keys):
    levels = [(301, 203), (151, 102)]
    assert shows(write_ome(tmp_path / "a.tif", **keys), RGB) == ("tiff", levels, "metadata")


@pytest.mark.parametrize("unit", ["μm", "µm", "Âµm"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_so_do_jpeg_tiles(tmp_path, unit, byteorder):
    path = write_ome(tmp_path / "a.tif", unit=unit, byteorder=byteorder, compression="jpeg")
    assert shows(path, RGB, most=4) == ("jpeg-tiff", [(301, 203), (151, 102)], "metadata")


@pytest.mark.parametrize("reader", ["auto", "openslide"])
@pytest.mark.parametrize("resolution", [(1, 1), (72, 72), (0, 1), None])
def test_a_resolution_that_stands_for_nothing_is_no_scale(tmp_path, resolution, reader):
    keys = {"resolution": resolution, "resolutionunit": "INCH"} if resolution else {"resolution": None}
    for options in (TILED, {}):
        path = write(tmp_path / "a.tif", (RGB, {**options, **keys}))
        with pytest.raises(WorkError, match=r"^no mpp"):
            Slide(path, reader=reader)
    with pytest.raises(WorkError, match=r"^no mpp"):
        Slide(write_ome(tmp_path / "b.tif", unit="pixel", size=1, **keys), reader=reader)


@pytest.mark.parametrize("compression", ["jpeg", "lzw"])
def test_big_endian(tmp_path, compression):
    """OpenSlide opens none of these."""
    keys = {"byteorder": ">", "compression": compression, **TILED}
    name, most = ("jpeg-tiff", 4) if compression == "jpeg" else ("tiff", 0)
    pages = [(RGB, {}), (RGB[::8, ::8].copy(), {"tile": None}), (HALF, {})]
    svs = write(tmp_path / "a.svs", *pages, **keys, description=APERIO, resolution=None)
    assert shows(svs, RGB, most=most) == (name, [(301, 203), (151, 102)], "metadata")
    tif = write(tmp_path / "a.tif", (RGB, {}), (HALF, {"subfiletype": 1}), **keys)
    assert shows(tif, RGB, most=most) == (name, [(301, 203), (151, 102)], "tiff resolution")


@pytest.mark.parametrize("unit", ["um", "\\u00B5m", "micron"])
def test_imagej_states_its_unit(tmp_path, unit):
    tifffile.imwrite(
        tmp_path / "a.tif", RGB, imagej=True, photometric="rgb", resolution=(2, 2), metadata={"unit": unit}
    )
    assert shows(tmp_path / "a.tif", RGB) == ("tiff", [(301, 203)], "metadata")


@pytest.mark.parametrize("compression", ["jpeg", "lzw"])
@pytest.mark.parametrize("macro", [{}, TILED, {**TILED, "subfiletype": 1}], ids=str)
@pytest.mark.parametrize("like", [True, False])
def test_an_overview_that_comes_first_is_not_the_slide(tmp_path, compression, macro, like):
    small = np.full((51, 75, 3) if like else (90, 60, 3), 200, np.uint8)
    path = tmp_path / "a.tif"
    write(path, (small, macro), (RGB, TILED), (HALF, {**TILED, "subfiletype": 1}), compression=compression)
    assert shows(path, RGB, most=4 if compression == "jpeg" else 0)[1] == [(301, 203), (151, 102)]


def test_so_it_is_in_ome(tmp_path):
    path = tmp_path / "a.tif"
    options = {"photometric": "rgb", "compression": "jpeg", **TILED}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for pixels, um, subifds in ((RGB[::4, ::4].copy(), 2.0, 0), (RGB, 0.5, 1)):
            stated = {"axes": "YXS", "PhysicalSizeX": um, "PhysicalSizeY": um}
            tiff.write(pixels, subifds=subifds, metadata=stated, **options)
        tiff.write(HALF, subfiletype=1, **options)
    assert shows(path, RGB, most=4) == ("jpeg-tiff", [(301, 203), (151, 102)], "metadata")


@pytest.mark.parametrize(
    ("axes", "kind", "error", "told"),
    [
        ("CYX", "ome", NotBrightfield, r"^not brightfield: 3 channels, each an image of its own \(DAPI, b, c\)$"),
        ("ZYXS", "ome", WorkError, r"^a focus stack of 3 planes"),
        ("TYXS", "ome", WorkError, r"^a series of 3 points in time"),
        ("CYX", "imagej", NotBrightfield, r"^not brightfield: 3 channels"),
        ("ZYX", "imagej", WorkError, r"^a focus stack of 3 planes"),
        ("QYXS", "plain", WorkError, r"^a TIFF of 3 images of 301 x 203 pixels \(channels, a focus stack"),
    ],
)
@pytest.mark.parametrize("reader", ["auto", "openslide"])
def test_pages_that_are_no_pyramid_are_called_what_they_are(tmp_path, axes, kind, error, told, reader):
    pixels = np.stack([RGB if "S" in axes else RGB[..., 0]] * 3)
    named = {"Channel": {"Name": ["DAPI", "b", "c"]}} if axes == "CYX" and kind == "ome" else {}
    keys = {"ome": True, **TILED} if kind == "ome" else {"imagej": True} if kind == "imagej" else TILED
    photometric = "rgb" if "S" in axes else "minisblack"
    metadata = {"axes": axes, **named} if kind != "plain" else None
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric=photometric, metadata=metadata, **keys)
    with pytest.raises(error, match=told):
        Slide(tmp_path / "a.tif", 0.5, reader)


@pytest.mark.parametrize(
    "pixels", [RGB[..., 0].astype(np.uint16) * 257, np.dstack([RGB[..., 0]] * 4)], ids=["16 bits", "4 samples"]
)
def test_what_has_no_colours_is_not_brightfield(tmp_path, pixels):
    path = write(tmp_path / "a.tif", (pixels, TILED), photometric="minisblack", planarconfig="contig")
    with pytest.raises(NotBrightfield, match=r"^not brightfield: \d channel\(s\) of (8|16) bits, no colours$"):
        Slide(path)


def tagged(orientation):
    return {"extratags": [(274, 3, 1, orientation, True)]}


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("keys", [{}, {**TILED, "compression": "jpeg"}, {**TILED, "compression": "lzw"}], ids=str)
@pytest.mark.parametrize("aperio", [False, True])
def test_a_slide_is_turned_as_a_whole_or_refused(tmp_path, orientation, keys, aperio):
    if aperio and not keys:
        pytest.skip("Aperio's slides are tiled")
    about = {"description": APERIO, "resolution": None} if aperio else {}
    path = write(tmp_path / ("a.svs" if aperio else "a.tif"), (RGB, {**keys, **about, **tagged(orientation)}))
    if orientation > 4:
        with pytest.raises(WorkError, match=rf"^orientation {orientation} \(TIFF tag 274\) .* save it upright$"):
            Slide(path)
        return
    shows(path, turned(RGB, orientation), most=4 if keys.get("compression") == "jpeg" else 0)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_pictures_and_masks_are_turned_likewise(tmp_path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif.tobytes())
    with Slide(tmp_path / "a.png", mpp=0.5) as slide:
        np.testing.assert_array_equal(slide.read(0, 0, 0, *slide.size), turned(RGB, orientation))
        size = slide.size
    grey = RGB[..., 0].copy()
    tifffile.imwrite(tmp_path / "m.tif", grey, tile=(32, 32), photometric="minisblack", **tagged(orientation))
    Image.fromarray(grey).save(tmp_path / "m.png", exif=exif.tobytes())
    for name in ("m.tif", "m.png"):
        with MaskSlide(tmp_path / name, size) as mask:
            found = mask.values(np.array([10.0, 20, 90, 60]), 80, 40)
        np.testing.assert_array_equal(found, turned(grey, orientation)[20:60, 10:90])


@given(st.integers(1, 4), st.lists(st.tuples(*[st.integers(-30, 230)] * 2, *[st.integers(1, 90)] * 2), min_size=1))
@settings(max_examples=40)
def test_any_tiles_put_together_are_the_turned_picture(turned_slides, orientation, boxes):
    slide, whole = turned_slides[orientation]
    padded = np.pad(whole, ((400, 400), (400, 400), (0, 0)), constant_values=255)
    corners = np.array([(x, y, x + width, y + height) for x, y, width, height in boxes])
    for (x0, y0, x1, y1), crop in zip(corners.tolist(), slide.crops(0, corners), strict=True):
        np.testing.assert_array_equal(crop, padded[y0 + 400 : y1 + 400, x0 + 400 : x1 + 400])


@pytest.fixture(scope="module")
def turned_slides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("turned")
    paths = {n: write(folder / f"{n}.tif", (RGB, {**TILED, "compression": "lzw", **tagged(n)})) for n in range(1, 5)}
    slides = {n: (Slide(path), turned(RGB, n)) for n, path in paths.items()}
    yield slides
    for slide, _ in slides.values():
        slide.close()


WHITE = RGB / 255


@pytest.mark.parametrize("tiled", [True, False])
@pytest.mark.parametrize(
    ("pixels", "tags"),
    [
        (WHITE.astype(np.float32), [(341, 11, 3, (1.0,) * 3, True)]),
        ((WHITE * 65535).round().astype(np.uint16), []),
        ((WHITE * 4095).round().astype(np.uint16), [(341, 3, 3, (4095,) * 3, True)]),
        ((WHITE * 4095).round().astype(np.uint16), [(281, 3, 3, (4095,) * 3, True)]),
    ],
    ids=["float", "16", "12, SMaxSampleValue", "12, MaxSampleValue"],
)
def test_deep_values_are_scaled_by_what_the_file_says(tmp_path, pixels, tags, tiled):
    path = write(tmp_path / "a.tif", (pixels, TILED if tiled else {}), extratags=tags)
    assert shows(path, RGB)[0] == "tiff"


def test_ome_says_how_many_bits_are_significant(tmp_path):
    """Unless it says that all are, as writers do by themselves."""
    pixels = (WHITE * 4095).round().astype(np.uint16)
    for bits in (12, 16):
        stated = {"axes": "YXS", "SignificantBits": bits, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        tifffile.imwrite(tmp_path / "a.tif", pixels, ome=True, photometric="rgb", metadata=stated, **TILED)
        if bits == 12:
            shows(tmp_path / "a.tif", RGB)
        else:
            with pytest.raises(WorkError, match=r"^its values reach 3710 of 65535, and no tag"):
                Slide(tmp_path / "a.tif")


@pytest.mark.parametrize("tiled", [True, False])
@pytest.mark.parametrize(
    ("pixels", "told"),
    [
        (WHITE.astype(np.float32), r"^its values are float32, and no tag \(SMaxSampleValue\) says which one is white"),
        ((WHITE * 4095).round().astype(np.uint16), r"^its values reach 3710 of 65535, and no tag"),
    ],
)
def test_else_they_are_refused(tmp_path, pixels, told, tiled):
    with pytest.raises(WorkError, match=told):
        Slide(write(tmp_path / "a.tif", (pixels, TILED if tiled else {})))


def test_damaged_pieces_say_where(tmp_path):
    path = write_ome(tmp_path / "a.tif")
    with tifffile.TiffFile(path) as tiff:
        start, size = tiff.pages[0].dataoffsets[7], tiff.pages[0].databytecounts[7]
    data = bytearray(path.read_bytes())
    data[start : start + size] = b"\xff" * size
    path.write_bytes(data)
    with Slide(path) as slide, pytest.raises(WorkError, match=r"^pixels cannot be read at level 0, x 128, y 64 \("):
        slide.read(0, 0, 0, 301, 203)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(WorkError, match=r"^truncated|^not a slide or picture"):
        Slide(path)


@pytest.mark.parametrize("compression", ["zlib", "zstd"])
def test_a_tile_that_unpacks_to_far_more_than_it_is(tmp_path, compression):
    """A few kB of a tile of 64 x 64 pixels, which would be a quarter of a GB."""
    path = write_ome(tmp_path / "a.tif", compression=compression)
    bomb = getattr(imagecodecs, f"{compression}_encode")(bytes(2**28))
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        page = tiff.pages[0]
        offsets, counts = list(page.dataoffsets), list(page.databytecounts)
        offsets[0], counts[0] = path.stat().st_size, len(bomb)
        page.tags["TileOffsets"].overwrite(offsets)
        page.tags["TileByteCounts"].overwrite(counts)
    with open(path, "ab") as file:
        file.write(bomb)
    assert path.stat().st_size < 10**6
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Slide(path) as slide:
        try:
            slide.read(0, 0, 0, 64, 64)
        except WorkError as error:
            assert "pixels cannot be read at level 0, x 0, y 0" in str(error)  # noqa: PT017 - it may also be cut
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**17  # kB: 128 MB


MACRO = np.full((40, 160, 3), (10, 200, 30), np.uint8)


@pytest.mark.parametrize("compression", ["jpeg", "lzw"])
@pytest.mark.parametrize("aperio", [False, True])
def test_a_macro_in_tiles_is_no_level(tmp_path, compression, aperio):
    """OpenSlide takes it for one, or refuses the file; a survey would look for tissue on it."""
    about = {"description": APERIO, "resolution": None} if aperio else {}
    mark = {} if aperio else {"subfiletype": 1}
    path = write(tmp_path / ("a.svs" if aperio else "a.tif"), (RGB, {}), (HALF, mark), (MACRO, mark), **TILED,
                 **about, compression=compression)  # fmt: skip
    assert shows(path, RGB, most=4 if compression == "jpeg" else 0)[1] == [(301, 203), (151, 102)]


def test_neither_is_a_mask_that_is_kept_beside_it(tmp_path):
    mask = np.zeros((102, 151), np.uint8)
    path = write(tmp_path / "a.tif", (RGB, {}), (mask, {"subfiletype": 1, "photometric": "minisblack"}), **TILED)
    assert shows(path, RGB)[1] == [(301, 203)]


@pytest.mark.parametrize("layout", [TILED, {}], ids=["tiles", "strips"])
@pytest.mark.parametrize(
    ("more", "kinds", "opaque"), [((0,), (0,), None), ((77, 0), (0, 0), None), ((0, 128), (0, 2), 128)], ids=str
)
def test_which_sample_is_transparency_is_what_the_file_says(tmp_path, layout, more, kinds, opaque):
    samples = np.dstack([RGB, *(np.full(RGB.shape[:2], value, np.uint8) for value in more)])
    shown = RGB if opaque is None else (RGB.astype(int) * opaque + 255 * (255 - opaque) + 127) // 255
    shows(write(tmp_path / "a.tif", (samples, layout), extrasamples=kinds), shown)


def test_colours_brighter_than_their_transparency_allows_do_not_wrap(tmp_path):
    samples = np.dstack([RGB, np.zeros(RGB.shape[:2], np.uint8)])
    shows(write(tmp_path / "a.tif", (samples, {}), extrasamples=(1,)), np.full_like(RGB, 255))


@pytest.mark.parametrize("layout", [TILED, {}], ids=["tiles", "strips"])
def test_a_palette_of_8_bits(tmp_path, layout):
    palette = np.random.default_rng(0).integers(0, 256, (3, 256), np.uint16)
    path = write(tmp_path / "a.tif", (RGB[..., 0], layout), photometric="palette", colormap=palette, **tagged(3))
    shows(path, palette.T.astype(np.uint8)[RGB[::-1, ::-1, 0]])


@pytest.mark.parametrize("keys", [{"compression": "webp"}, {"compression": "lzma"}, {"compression": "png"},
                                  {"compression": "packbits", "predictor": True}], ids=str)  # fmt: skip
def test_tiles_that_openslide_cannot_unpack(tmp_path, keys):
    assert shows(write(tmp_path / "a.tif", (RGB, TILED), (HALF, {**TILED, "subfiletype": 1}), **keys), RGB) == (
        "tiff", [(301, 203), (151, 102)], "tiff resolution",
    )  # fmt: skip


def retagged(path, page, **values):
    """The file with other values of tags, each with the type to write it as."""
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for name, (value, kind) in values.items():
            tiff.pages[page].tags[name].overwrite(value, dtype=kind)
    return path


OVERVIEW_FIRST = (RGB[::4, ::4].copy(), TILED), (RGB, TILED)


@pytest.mark.parametrize("kind", ["f", "d", "H", "I"])
def test_a_resolution_that_is_no_fraction(tmp_path, kind):
    value = (20000.0 if kind in "fd" else 20000, kind)
    path = retagged(write(tmp_path / "a.tif", *OVERVIEW_FIRST), 1, XResolution=value, YResolution=value)
    assert shows(path, RGB)[2] == "tiff resolution"


@pytest.mark.parametrize(
    ("tag", "value", "told"),
    [
        ("ImageLength", 0, "^damaged: one of its pages has no pixels$"),
        ("TileLength", 0, r"^damaged: its pages cannot be told apart \("),
        ("TileWidth", 0, r"^tiles or strips of \d+ x 0 pixels cannot be read; write it in tiles$"),
        ("PhotometricInterpretation", 99, "^its colours are of the unknown kind 99, which are not read; write RGB$"),
        ("PlanarConfiguration", 3, "^its colours have 8 bits in PlanarConfiguration 3, which is not read"),
    ],
)
def test_an_overview_is_not_the_slide_because_that_is_damaged(tmp_path, tag, value, told):
    path = write(tmp_path / "a.tif", *OVERVIEW_FIRST)
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages[1].tags[tag].offset + 8
    data = bytearray(path.read_bytes())
    data[place : place + 4] = value.to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(WorkError, match=told):
        Slide(path, 0.5)


@pytest.mark.parametrize("layout", [TILED, {}], ids=["tiles", "strips"])
@pytest.mark.parametrize(("photometric", "name"), [("separated", "SEPARATED"), ("cielab", "CIELAB")])
def test_colours_of_printers_and_of_eyes_are_refused(tmp_path, layout, photometric, name):
    pixels = np.dstack([RGB, RGB[..., 0]]) if photometric == "separated" else RGB
    with pytest.raises(WorkError, match=f"^its colours are {name}, which are not read; write RGB$"):
        Slide(write(tmp_path / "a.tif", (pixels, layout), photometric=photometric))


def test_15_bits_are_told_from_16(tmp_path):
    path = write(tmp_path / "a.tif", ((WHITE * 32767).round().astype(np.uint16), TILED))
    with pytest.raises(WorkError, match=r"^its values reach \d+ of 65535, and no tag"):
        Slide(path)


@pytest.mark.parametrize("stated", ['PhysicalSizeX="0,5" PhysicalSizeY="0,5"', 'PhysicalSizeX="0.5"'])
def test_ome_as_some_write_it(tmp_path, stated):
    """A country's decimal sign; one edge of pixels that are square. The resolution tags say something else."""
    pixels = f'DimensionOrder="XYCZT" Type="uint8" SizeX="301" SizeY="203" SizeC="3" SizeZ="1" SizeT="1" {stated}'
    inside = '<Channel ID="C:0" SamplesPerPixel="3"/><TiffData IFD="0" PlaneCount="1"/>'
    xml = f'<OME xmlns="x/OME/2016-06"><Image ID="I:0"><Pixels ID="P:0" {pixels}>{inside}</Pixels></Image></OME>'
    shows(write(tmp_path / "a.ome.tif", (RGB, TILED), description=xml, resolution=(10000, 10000)), RGB)
