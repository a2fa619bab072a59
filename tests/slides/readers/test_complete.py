"""A slide of which a part is missing is told by its own directories, whoever reads it."""

import os
import struct
import time
from pathlib import Path

import numpy as np
import openslide
import pytest
import simplejpeg
import tifffile

from raysweep.errors import WorkError
from raysweep.slides.readers.complete import check_complete
from raysweep.slides.slide import Slide

from ..slidemaker import slide_with_tissue, write_slide


def cut(path: Path, source: Path, length: int) -> Path:
    path.write_bytes(source.read_bytes()[:length])
    return path


@pytest.mark.parametrize("reader", ["auto", "openslide"])
def test_a_slide_cut_off_in_its_glass_is_truncated(tmp_path, reader):
    """OpenSlide opens it and would only complain of the tiles that are cut off, where there is no tissue to be read."""
    path = write_slide(tmp_path / "a.svs", slide_with_tissue(640, 640, (0, 0, 100, 100)))
    with tifffile.TiffFile(path, mode="r+b") as tiff:  # level 0 goes to the end
        page, data = tiff.pages[0], path.read_bytes()
        tiles = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        starts = np.cumsum([len(data), *page.databytecounts]).tolist()
        page.tags["TileOffsets"].overwrite(starts[:-1])
    with open(path, "ab") as file:
        file.write(b"".join(data[start : start + size] for start, size in tiles))
    Slide(path, reader=reader).close()
    os.truncate(path, starts[95] + 1)
    openslide.OpenSlide(path).close()
    with pytest.raises(WorkError) as error:
        Slide(path, reader=reader)
    assert str(error.value) == (
        "truncated: 5 of 100 tiles of level 0, the first in column 5, row 9, lie beyond the end of the file "
        f"({starts[95] + 1} bytes)"
    )


@pytest.mark.parametrize("reader", ["auto", "openslide"])
@pytest.mark.parametrize(
    "name", ["CMU-1-Small-Region.svs", "TCGA-CR-7395-01A-01-TS1.svs", "test3-DAPI.ndpi"], ids=["jpeg", "jp2", "ndpi"]
)
def test_real_slides_cut_off_anywhere(tmp_path, test_data, name, reader):
    source = test_data / "wsi" / name
    check_complete(source)
    size = source.stat().st_size
    for length in range(size // 12, size - size // 24, size // 12):
        with pytest.raises(WorkError, match=r"^(truncated: |not a slide or picture that can be read: cut off)"):
            Slide(cut(tmp_path / name, source, length), 0.5, reader)


def test_a_page_that_is_no_level_is_named_as_one(tmp_path):
    source = write_slide(tmp_path / "a.svs", slide_with_tissue(640, 640, (0, 0, 100, 100)))
    with tifffile.TiffFile(source) as tiff:
        end = tiff.pages[1].dataoffsets[2] + 1
    with pytest.raises(WorkError, match=r"^truncated: \d of \d strips of page 1, the first number 2, lie beyond"):
        check_complete(cut(tmp_path / "b.svs", source, end))


def test_a_directory_that_is_cut_off(tmp_path, test_data):
    source = test_data / "wsi" / "TCGA-CR-7395-01A-01-TS1.svs"
    with tifffile.TiffFile(source) as tiff:
        starts = [page.offset for page in tiff.pages]
    with pytest.raises(WorkError, match=f"^truncated: page 0 should begin at byte {starts[0]} of a file of 1000 bytes"):
        check_complete(cut(tmp_path / "a.svs", source, 1000))
    with pytest.raises(WorkError, match=rf"^truncated: page 2 should begin at byte {starts[2]} of a file of "):
        check_complete(cut(tmp_path / "a.svs", source, starts[2] - 1))
    with pytest.raises(WorkError, match=r"^damaged: it names 0 of the 63 tiles of level 1$"):
        check_complete(cut(tmp_path / "a.svs", source, source.stat().st_size - 400))


def test_offsets_of_a_large_hamamatsu_slide(tmp_path, test_data):
    """They have 64 bits, of which the upper half stands behind the directory."""
    data = bytearray((test_data / "wsi" / "test3-DAPI.ndpi").read_bytes())
    with tifffile.TiffFile(test_data / "wsi" / "test3-DAPI.ndpi") as tiff:
        page = tiff.pages[0]
        offsets, n_tags = page.tags["StripOffsets"], len(page.tags)
        start, size = offsets.value[0], page.tags["StripByteCounts"].value[0]
    moved = 5 * 2**30 + 123
    upper = page.offset + 2 + 12 * n_tags + 8 + 4 * ((offsets.offset - page.offset - 2) // 12)
    struct.pack_into("<I", data, offsets.offset + 8, moved % 2**32)
    struct.pack_into("<I", data, upper, moved >> 32)
    path = tmp_path / "large.ndpi"
    with open(path, "wb") as file:  # with a hole: it takes no space
        file.write(data)
        file.seek(moved)
        file.write(data[start : start + size])
    with Slide(path) as slide, Slide(test_data / "wsi" / "test3-DAPI.ndpi") as same:
        np.testing.assert_array_equal(slide.read(0, 1000, 1000, 300, 300), same.read(0, 1000, 1000, 300, 300))
    os.truncate(path, moved + size - 5000)
    with pytest.raises(WorkError, match=r"^truncated: 6 of 608 tiles of level 0, the first in column 0, row 602, lie"):
        check_complete(path)


def test_a_tiff_by_hamamatsus_suffix_says_nothing(tmp_path):
    check_complete(write_slide(tmp_path / "a.ndpi", slide_with_tissue(640, 640, (0, 0, 100, 100))))


def test_other_files_say_nothing(tmp_path):
    for name, data in (("a.svs", b""), ("b.tif", b"II*\0"), ("c.tif", b"II*\0" + bytes(20)), ("d.png", b"\x89PNG")):
        (tmp_path / name).write_bytes(data)
        check_complete(tmp_path / name)
    check_complete(tmp_path)
    check_complete(tmp_path / "absent.tif")


def test_a_slide_of_many_tiles_costs_little(tmp_path):
    tile = simplejpeg.encode_jpeg(np.full((16, 16, 3), 240, np.uint8), 90, "RGB", "420")
    path, n = tmp_path / "a.tif", 400
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(
            (tile for _ in range(n * n)), shape=(16 * n, 16 * n, 3), dtype=np.uint8, tile=(16, 16), compression="jpeg",
            photometric="ycbcr", subsampling=(2, 2), metadata=None,
        )  # fmt: skip
    started = time.process_time()
    check_complete(path)
    assert time.process_time() - started < 1  # 0.03 on an idle machine


@pytest.fixture
def mrxs(tmp_path):
    """The files of an MRXS as far as their directory names them."""
    (tmp_path / "a.mrxs").write_bytes(simplejpeg.encode_jpeg(np.full((64, 64, 3), 240, np.uint8), 90, "RGB", "420"))
    (tmp_path / "a").mkdir()
    about = "[GENERAL]\nSLIDE_ID=x\n[HIERARCHICAL]\nINDEXFILE = Index.dat\n[DATAFILE]\nFILE_COUNT = 3\n"
    about += "".join(f"FILE_{i} = Data000{i}.dat\n" for i in range(3))
    (tmp_path / "a" / "Slidedat.ini").write_bytes(b"\xef\xbb\xbf" + about.replace("\n", "\r\n").encode())
    for name in ("Index.dat", "Data0000.dat", "Data0001.dat", "Data0002.dat"):
        (tmp_path / "a" / name).write_bytes(b"x")
    return tmp_path / "a.mrxs"


def test_an_mrxs_with_all_its_files_says_nothing(mrxs):
    check_complete(mrxs)


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        (["Data0001.dat"], "incomplete: 1 of the 4 files that a/Slidedat.ini names are missing, the first is Data0001"),
        (["Data0002.dat", "Index.dat"], "incomplete: 2 of the 4 files that a/Slidedat.ini names are missing"),
        (["Slidedat.ini"], "the folder a that belongs beside an .mrxs is missing, or its Slidedat.ini is"),
    ],
)
@pytest.mark.parametrize("reader", ["auto", "openslide"])
def test_an_mrxs_without_some_of_its_files(mrxs, gone, message, reader):
    for name in gone:
        (mrxs.parent / "a" / name).unlink()
    with pytest.raises(WorkError, match=f"^{message}"):
        Slide(mrxs, 0.5, reader)


@pytest.mark.parametrize("name", ["../../secret.jpg", "/etc/passwd", "..", "a\\..\\b"])
def test_an_mrxs_names_files_of_its_own_folder_alone(tmp_path, name):
    (tmp_path / "s").mkdir()
    (tmp_path / "s.mrxs").touch()
    (tmp_path / "s/Slidedat.ini").write_text(
        f"[HIERARCHICAL]\nINDEXFILE = Index.dat\n[DATAFILE]\nFILE_COUNT = 1\nFILE_0 = {name}\n"
    )
    with pytest.raises(WorkError, match=r"^damaged: s/Slidedat\.ini names a file outside of its folder, "):
        check_complete(tmp_path / "s.mrxs")
