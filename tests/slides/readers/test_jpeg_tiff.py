"""The direct reader against OpenSlide and against the JPEG tiles themselves."""

from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.errors import WorkError
from raysweep.slides.readers.by_openslide import OpenSlideReader
from raysweep.slides.readers.jpeg_tiff import JpegTiffReader, pastes
from raysweep.slides.readers.reader import NotMine
from raysweep.slides.slide import Slide

from ..slidemaker import ramp, tissue, write_slide


def jpeg_slide(
    path: Path, pixels: np.ndarray, *, chroma=(2, 2), ycbcr=True, tile=(48, 64), downsamples=(2,), **keys
) -> Path:
    """A pyramid of JPEG tiles as Aperio or generic writers make it; colours as they should be."""
    about = f"Aperio Image Library v12\r\n{pixels.shape[1]}x{pixels.shape[0]}|AppMag = 20|MPP = 0.5"
    compress = {"compression": "jpeg", "compressionargs": {"level": 90}, "metadata": None, "tile": tile}
    compress |= {"photometric": "ycbcr" if ycbcr else "rgb", "subsampling": chroma} if ycbcr else {"photometric": "rgb"}
    with tifffile.TiffWriter(path, **keys) as tiff:
        tiff.write(pixels, description=about, **compress)
        tiff.write(pixels[::16, ::16], photometric="rgb", rowsperstrip=16, description=about, metadata=None)
        for down in downsamples:
            tiff.write(np.ascontiguousarray(pixels[::down, ::down]), description=about, **compress)
    return path


def both(path: Path):
    return Slide(path, mpp=0.5), Slide(path, mpp=0.5, reader="openslide")


def agree(path: Path, most: float = 1.0) -> None:
    """Same geometry, pixels within a grey level on average, places to the pixel."""
    one, other = both(path)
    with one, other:
        assert (one.reader.name, other.reader.name) == ("jpeg-tiff", "openslide")
        assert one.level_sizes == other.level_sizes
        assert one.downsamples == other.downsamples
        for level, (width, height) in enumerate(one.level_sizes):
            a, b = (slide.read(level, 0, 0, width, height).astype(int) for slide in (one, other))
            assert abs(a - b).mean() <= most


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize(
    ("chroma", "ycbcr"),
    [((2, 2), True), ((2, 1), True), ((1, 1), True), (None, False)],
    ids=["420", "422", "444", "rgb"],
)
@pytest.mark.parametrize("size", [(257, 193), (640, 448), (65, 300)])
def test_it_agrees_with_openslide(tmp_path, chroma, ycbcr, size, bigtiff):
    pixels = np.where(np.indices(size[::-1]).sum(0)[..., None] % 90 < 45, ramp(*size), tissue(*size))
    agree(jpeg_slide(tmp_path / "a.svs", pixels.astype(np.uint8), chroma=chroma, ycbcr=ycbcr, bigtiff=bigtiff))


@pytest.mark.parametrize(("size", "downsamples"), [((1003, 779), (2, 4)), ((2999, 503), (4,)), ((3001, 1003), (3, 16))])
def test_it_agrees_with_openslide_anywhere_on_a_level_of_odd_size(tmp_path, size, downsamples):
    """OpenSlide has one downsample for both axes, so hardly any pixel of a level is a whole pixel of level 0 to it."""
    rng = np.random.default_rng(0)
    one, other = both(jpeg_slide(tmp_path / "a.svs", tissue(*size), downsamples=downsamples))
    with one, other:
        assert (one.reader.name, other.reader.name) == ("jpeg-tiff", "openslide")
        for level, (width, height) in enumerate(one.level_sizes):
            edge = min(40, height)
            for x, y in zip(rng.integers(0, width - edge + 1, 20), rng.integers(0, height - edge + 1, 20), strict=True):
                pixels = [slide.read(level, x, y, edge, edge) for slide in (one, other)]
                np.testing.assert_array_equal(*pixels)


def test_it_agrees_with_openslide_on_real_slides(test_data):
    found = []
    for path in sorted((test_data / "wsi").glob("*.*")):
        with Slide(path, mpp=0.5) as slide:
            found.append((path.name, slide.reader.name))
        if slide.reader.name == "jpeg-tiff":
            agree(path)
    assert dict(found) == {"CMU-1-Small-Region.svs": "jpeg-tiff", "TCGA-CR-7395-01A-01-TS1.svs": "openslide",
                           "test3-DAPI.ndpi": "openslide"}  # fmt: skip


@pytest.mark.parametrize("shared", [True, False])
def test_colours_are_those_that_went_in(tmp_path, shared):
    """Tiles with tables of their own or shared ones (a real slide of the test data has shared ones)."""
    pixels = np.zeros((96, 128, 3), np.uint8)
    pixels[:, :64], pixels[:, 64:] = (200, 40, 90), (30, 160, 220)
    for ycbcr in (True, False):
        path = jpeg_slide(tmp_path / f"{ycbcr}.svs", pixels, ycbcr=ycbcr, downsamples=())
        if shared:
            _share_tables(path)
        with Slide(path, mpp=0.5) as slide:
            assert slide.reader.name == "jpeg-tiff"
            read = slide.read(0, 0, 0, 128, 96).astype(int)
        expected = pixels if not ycbcr else _mistaken(pixels)
        inside = abs(read - expected)[:90]  # chroma of the padding below shines into the last rows
        assert inside[:, 4:60].max() <= 4
        assert inside[:, 68:124].max() <= 4


def _mistaken(rgb: np.ndarray) -> np.ndarray:
    """tifffile compresses what it is given as it is: RGB written as `ycbcr` is read as if it were YCbCr."""
    y, cb, cr = np.moveaxis(rgb.astype(float), 2, 0)
    red, blue = y + 1.402 * (cr - 128), y + 1.772 * (cb - 128)
    green = y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128)
    return np.stack([red, green, blue], axis=2).round().clip(0, 255)


def _share_tables(path: Path) -> None:
    """Move the tables of the first tile into the file's JPEGTables, as scanners write them."""
    data = path.read_bytes()
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        tiles = [data[o : o + n] for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
        kind = {
            "photometric": int(page.photometric),
            "description": page.description,
            "size": (page.imagewidth, page.imagelength),
        }
        tile = (page.tilelength, page.tilewidth)
    tables, bare = zip(*(_split(each) for each in tiles), strict=True)
    assert len(set(tables)) == 1
    extra = [(347, "B", len(tables[0]) + 4, b"\xff\xd8" + tables[0] + b"\xff\xd9", True)]
    if kind["photometric"] == 6:
        extra.append((530, "H", 2, (2, 2), True))
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(
            iter(bare), shape=(kind["size"][1], kind["size"][0], 3), dtype=np.uint8, tile=tile, compression="jpeg",
            photometric="rgb" if kind["photometric"] == 2 else "ycbcr", description=kind["description"], metadata=None,
            extratags=extra, subsampling=None if kind["photometric"] == 2 else (2, 2),
        )  # fmt: skip


def _split(tile: bytes) -> tuple[bytes, bytes]:
    """The quantisation and Huffman tables of a JPEG, and the JPEG without them."""
    tables, rest, at = b"", b"\xff\xd8", 2
    while tile[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(tile[at + 2 : at + 4], "big")
        if tile[at + 1] in (0xDB, 0xC4):
            tables += tile[at:end]
        else:
            rest += tile[at:end]
        at = end
    return tables, rest + tile[at:]


@given(
    st.lists(
        st.tuples(st.integers(-40, 640), st.integers(-40, 440), st.integers(1, 200), st.integers(1, 200)), min_size=1
    )
)
@settings(max_examples=60)
def test_crops_are_the_pixels_of_their_boxes(slide_file, boxes):
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in boxes])
    reader, whole = slide_file
    height, width = whole.shape[:2]
    padded = np.full((height + 400, width + 400, 3), 255, np.uint8)
    padded[100 : 100 + height, 100 : 100 + width] = whole
    for (x0, y0, x1, y1), crop in zip(boxes, reader.crops(0, boxes), strict=True):
        np.testing.assert_array_equal(crop, padded[y0 + 100 : y1 + 100, x0 + 100 : x1 + 100])


@pytest.fixture(scope="module")
def slide_file(tmp_path_factory):
    path = jpeg_slide(tmp_path_factory.mktemp("slides") / "a.svs", tissue(601, 413), ycbcr=False)
    reader = JpegTiffReader(path)
    yield reader, next(reader.crops(0, np.array([[0, 0, 601, 413]]))).copy()
    reader.close()


def test_each_tile_is_decoded_once(slide_file, monkeypatch):
    reader, _ = slide_file
    decoded = []
    decode = simplejpeg.decode_jpeg
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *args, **keys: decoded.append(1) or decode(*args, **keys))
    edges = np.arange(0, 401, 50)
    boxes = np.array([(x, y, x + 50, y + 50) for y in edges[:-1] for x in edges[:-1]])
    list(reader.crops(0, boxes))
    assert len(decoded) == len(range(0, 400, 64)) * len(range(0, 400, 48))


def test_a_tile_of_its_own_is_the_same_picture(tmp_path):
    """The stored JPEG of a tile decodes, by any decoder, to what the reader reads."""
    import io

    from PIL import Image

    for ycbcr in (True, False):
        path = jpeg_slide(tmp_path / f"{ycbcr}.svs", tissue(128, 96), ycbcr=ycbcr, downsamples=())
        _share_tables(path)
        reader = JpegTiffReader(path)
        (width, height), columns = reader.tile_grid(0)
        for tile in range(4):
            row, column = divmod(tile, columns)
            box = np.array([[column * width, row * height, (column + 1) * width, (row + 1) * height]])
            pixels = next(reader.crops(0, box)).astype(int)
            data = reader.tile_jpeg(0, tile)
            np.testing.assert_array_equal(simplejpeg.decode_jpeg(data, "RGB"), pixels)
            assert abs(np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), int) - pixels).max() <= 2
        reader.close()


def test_a_file_cut_off_in_its_pixels_says_where(tmp_path):
    path = jpeg_slide(tmp_path / "a.svs", tissue(640, 480), downsamples=(), bigtiff=False)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.pages[0].offset < 1000  # the directory stands first: what is cut off is pixels
        cut = tiff.pages[0].dataoffsets[55] + 10
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(
        WorkError, match=r"^truncated: 45 of 100 tiles of level 0, the first in column 5, row 5, lie beyond"
    ):
        JpegTiffReader(path)


def test_a_pyramid_in_ome_tiff_keeps_its_levels(tmp_path):
    path = tmp_path / "a.ome.tif"
    pixels = tissue(512, 384)
    options = {"tile": (64, 64), "compression": "jpeg", "photometric": "rgb"}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        size = {"PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 260, "PhysicalSizeYUnit": "nm"}
        tiff.write(pixels, subifds=2, metadata={"axes": "YXS", **size}, **options)
        for down in (2, 4):
            tiff.write(pixels[::down, ::down], subfiletype=1, **options)
    with Slide(path) as slide:
        assert slide.reader.name == "jpeg-tiff"
        assert slide.level_sizes == [(512, 384), (256, 192), (128, 96)]
        assert slide.mpp_xy == (0.25, 0.26)
        assert abs(slide.read(1, 0, 0, 256, 192).astype(int) - pixels[::2, ::2]).mean() < 4


def test_other_files_are_left_to_openslide(tmp_path, test_data):
    plain = write_slide(tmp_path / "plain.svs", tissue(128, 128))
    for path in (plain, test_data / "wsi" / "TCGA-CR-7395-01A-01-TS1.svs", test_data / "wsi" / "test3-DAPI.ndpi"):
        with pytest.raises(NotMine):
            JpegTiffReader(path)
        OpenSlideReader(path).close()


def test_a_missing_tile_is_left_to_openslide(tmp_path):
    path = jpeg_slide(tmp_path / "a.svs", tissue(128, 96), downsamples=())
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        sizes = list(tiff.pages[0].databytecounts)
        tiff.pages[0].tags["TileByteCounts"].overwrite([0, *sizes[1:]])
    with pytest.raises(NotMine, match="leaves out tiles"):
        JpegTiffReader(path)


@st.composite
def _images(draw: st.DrawFn):
    size = draw(st.tuples(st.integers(1, 60), st.integers(1, 60)))
    tile = draw(st.tuples(st.integers(1, 25), st.integers(1, 25)))
    corner, edge = st.integers(-30, 90), st.integers(1, 50)
    boxes = draw(st.lists(st.tuples(corner, corner, edge, edge), min_size=1, max_size=8))
    return size, tile, np.array([(x, y, x + w, y + h) for x, y, w, h in boxes])


@given(_images())
def test_crops_show_the_image_and_nothing_else(case) -> None:
    (width, height), (tile_width, tile_height), boxes = case
    columns, rows = -(-width // tile_width), -(-height // tile_height)
    padded = np.full((rows * tile_height, columns * tile_width), -1)  # of tiles that are larger than the image
    padded[:height, :width] = np.arange(width * height).reshape(height, width)
    tiles = padded.reshape(rows, tile_height, columns, tile_width).swapaxes(1, 2).reshape(-1, tile_height, tile_width)
    outside = -2
    around = np.pad(padded[:height, :width], 200, constant_values=outside)
    seen: list[int] = []
    gone: set[int] = set()
    found = pastes(boxes, (tile_width, tile_height), columns, (width, height))
    for (x0, y0, x1, y1), parts in zip(boxes.tolist(), found, strict=True):
        crop = np.full((y1 - y0, x1 - x0), outside)
        for tile, last, top, bottom, left, right, tile_top, tile_bottom, tile_left, tile_right in parts:
            assert tile not in gone
            crop[top:bottom, left:right] = tiles[tile, tile_top:tile_bottom, tile_left:tile_right]
            seen.append(tile)
            gone |= {tile} if last else set()
        assert np.array_equal(crop, around[y0 + 200 : y1 + 200, x0 + 200 : x1 + 200])
    assert gone == set(seen), "every tile is let go"
