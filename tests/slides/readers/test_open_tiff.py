"""TIFFs whose pages are made to do harm."""

import os
import re
import struct

import numpy as np
import pytest
import tifffile

from raysweep.errors import WorkError
from raysweep.slides.readers import open_tiff as module
from raysweep.slides.readers.complete import check_complete
from raysweep.slides.readers.mask_image import MaskSlide
from raysweep.slides.readers.open_tiff import all_pages, open_tiff
from raysweep.slides.slide import Slide

from ..slidemaker import tissue
from .test_tiff import RGB, shows, write_ome


def write(path, n=3, **keys):
    with tifffile.TiffWriter(path, **keys) as tiff:
        for _ in range(n):
            tiff.write(np.zeros((16, 16), np.uint8), metadata=None)
    return path


@pytest.mark.parametrize(
    "keys", [{}, {"byteorder": ">"}, {"bigtiff": True}, {"bigtiff": True, "byteorder": ">"}], ids=str
)
def test_pages_that_go_round_in_a_circle(tmp_path, keys):
    path = write(tmp_path / "a.tif", **keys)
    with open_tiff(path) as tiff:
        assert len(all_pages(tiff.pages)) == 3
        first, last = tiff.pages[0].offset, tiff.pages[2].offset
    order, big = keys.get("byteorder", "<"), keys.get("bigtiff", False)
    data = bytearray(path.read_bytes())
    n = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, last)[0]
    at = last + (8 + 20 * n if big else 2 + 12 * n)
    struct.pack_into(f"{order}{'Q' if big else 'I'}", data, at, first)
    path.write_bytes(data)
    for read in (open_tiff, check_complete, Slide, lambda p: MaskSlide(p, (16, 16)).size):
        with pytest.raises(WorkError, match="damaged: its pages go round in a circle"):
            read(path)


def test_far_too_many_pages(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MOST_PAGES", 10)
    open_tiff(write(tmp_path / "a.tif", 10)).close()
    with pytest.raises(WorkError, match="or are more than 10"):
        open_tiff(write(tmp_path / "b.tif", 12))
    with pytest.raises(WorkError, match="damaged: it names 11 pages"):
        all_pages(range(11))


@pytest.mark.parametrize(
    "data", [b"", b"II*\0", b"II*\0\x08\0\0\0", b"II*\0\xff\xff\xff\x7f" + bytes(20), b"no tiff at all, but text"]
)
def test_what_is_none_is_left_to_who_reads_it(tmp_path, data):
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(Exception), open_tiff(tmp_path / "a.tif") as tiff:  # noqa: B017, PT011 - of any kind, and soon
        all_pages(tiff.pages)[0]


def test_files_that_an_ome_names_are_not_opened(tmp_path):
    """OME's XML can name a file anywhere for each plane; this one would be waited for without end."""
    (tmp_path / "set").mkdir()
    path = write_ome(tmp_path / "set/a.tif")
    os.mkfifo(tmp_path / "pipe.tif")
    text = tifffile.TiffFile(path).pages[0].tags["ImageDescription"].value
    named = '<TiffData IFD="0" PlaneCount="1"><UUID FileName="../pipe.tif">urn:uuid:1</UUID></TiffData>'
    told, n = re.subn(r"<TiffData[^>]*/>|<TiffData.*?</TiffData>", named, text, count=1, flags=re.S)
    assert n == 1, text
    tifffile.tiffcomment(path, told.encode())
    shows(path, RGB)
    with MaskSlide(path, RGB.shape[1::-1]) as mask:
        assert mask.size == RGB.shape[1::-1]


def test_pixels_are_those_of_before(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, tissue(64, 48), photometric="rgb", metadata=None)
    with open_tiff(path) as tiff:
        assert np.array_equal(tiff.asarray(), tissue(64, 48))
