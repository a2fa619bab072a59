"""Slides on object storage that are read by parts."""

import errno
import os
import struct
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from raysweep.errors import WorkError
from raysweep.slides import far
from raysweep.slides.cut import read_cut
from raysweep.slides.far import FarFile, far_reader
from raysweep.slides.readers.open_tiff import every_page, open_tiff
from raysweep.slides.sidecars import Sidecars
from raysweep.slides.slide import Slide
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.survey import survey
from raysweep.slides.table.entries import SlideEntry, read_slides
from raysweep.storage import Storage
from tests.bucket import Bucket, Gate, serve_bucket

from .making import make
from .slidemaker import grainy, slide_with_tissue, tissue, write_slide

SPEC = PatchSetSpec(slides="*.svs", um=32, px=64)
WIDTH, HEIGHT = 16384, 1024
BOX = (1000, 100, 3000, 900)  # a tenth of it


class Counted:
    """A file system of one file, which notes what is read of it; `fail` tells how often a read fails first."""

    def __init__(self, data: bytes, fail: int = 0) -> None:
        self.data, self.fail, self.asked, self.lock = data, fail, [], threading.Lock()

    def open_input_file(self, path: str) -> "Counted":
        return self

    def read_at(self, size: int, first: int) -> bytes:
        with self.lock:
            self.asked.append((first, size))
            if self.fail:
                self.fail -= 1
                raise OSError(errno.EIO, "Input/output error")
        return self.data[first : first + size]

    def close(self) -> None:
        pass


DATA = np.random.default_rng(0).bytes(4000)


@given(
    st.lists(st.tuples(st.integers(0, 3900), st.integers(1, 100)), max_size=20),
    st.lists(st.tuples(st.integers(0, 3900), st.integers(1, 100)), max_size=3),
)
def test_what_is_expected_comes_with_its_neighbours_and_all_else_alone(spans, more):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("_GAP", 10), ("_MOST", 300), ("_AHEAD", 400)):
            patch.setattr(far, name, value)
        source = Counted(DATA)
        file = FarFile(source, "a")  # type: ignore[arg-type]
        sizes = dict(spans)
        for _ in range(2):  # nothing is left of the first time
            file.expect(sizes.items())
            for first, size in [*sizes.items(), *more]:
                assert file.read(first, size) == DATA[first : first + size]
        file.close()
    assert len(source.asked) <= 2 * (len(sizes) + len(more))
    assert all(size <= 300 for _, size in source.asked)


def test_neighbours_are_one_request_and_accidents_are_tried_again(monkeypatch):
    monkeypatch.setattr("raysweep.retry.time.sleep", lambda seconds: None)
    source = Counted(DATA, fail=2)
    file = FarFile(source, "a")  # type: ignore[arg-type]
    file.expect((first, 100) for first in (300, 100, 200))
    assert [file.read(first, 100) for first in (300, 100, 200)] == [DATA[n : n + 100] for n in (300, 100, 200)]
    assert source.asked == [(100, 300)] * 3
    file.close()
    broken = FarFile(Counted(DATA, fail=9), "a")  # type: ignore[arg-type]
    with pytest.raises(OSError, match="Input/output error"):
        broken.read(0, 10)
    broken.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wsi")
    kind = {"compression": "jpeg", "tile": 128}
    write_slide(folder / "a.svs", grainy(slide_with_tissue(WIDTH, HEIGHT, BOX)), downsamples=(4,), **kind)
    write_slide(folder / "flat.svs", tissue(4096, 256), downsamples=(), **kind)
    write_slide(folder / "deflate.svs", tissue(4096, 64), downsamples=(4,))
    return folder


@pytest.fixture(scope="module")
def bucket(folder) -> Iterator[Bucket]:
    with serve_bucket() as served:
        for path in folder.iterdir():
            served.put(path.name, path.read_bytes())
        served.put("cut.svs", (folder / "a.svs").read_bytes()[:-1000])
        served.put("a.ndpi", b"II*\0")
        served.put("circle.svs", going_round(folder / "a.svs"))
        yield served


def going_round(path: Path) -> bytes:
    """A slide whose first page has one below it, which is below itself."""
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        at, tag = page.offset, next(page.tags[code] for code in (296, 282, 305) if code in page.tags)
    struct.pack_into("<HHII", data, tag.offset, 330, 4, 1, at)
    return bytes(data)


def looked_at(entry: SlideEntry, cut_mpx: int = 1):
    """What a survey and all its cuts give."""
    with Sidecars.of(entry, 10**9, by_parts=True) as sidecars, sidecars.slide(SPEC) as slide:
        found = survey(slide, sidecars, SPEC, (), 0, cut_mpx=cut_mpx)
    cuts = []
    for places in found.cuts:
        with Sidecars.of(entry, 10**9, by_parts=True) as sidecars, sidecars.slide(SPEC) as slide:
            assert (sidecars.reader is not None) == entry.path.startswith("s3:")
            cuts.append(read_cut(slide, "a", places, found.grid, SPEC, 0))
    return found, cuts


def test_a_tenth_of_tissue_is_less_than_half_of_the_bytes_and_the_same_patches(folder, bucket):
    gate = Gate(bucket.port, 10**12)
    through = Bucket(gate.port).address("a.svs")
    far._head.cache_clear()
    there, far_cuts = looked_at(SlideEntry("a", through))
    size, passed = (folder / "a.svs").stat().st_size, gate.passed
    gate.close()
    here, cuts = looked_at(SlideEntry("a", str(folder / "a.svs")))
    assert np.array_equal(there.thumbnail, here.thumbnail)
    assert (there.size, there.mpp, there.reader) == (here.size, here.mpp, here.reader)
    assert len(cuts) > 1
    assert all(one.rows.equals(other.rows) for one, other in zip(far_cuts, cuts, strict=True))
    assert sum(cut.rows.num_rows for cut in cuts) > 50
    assert passed < size / 2, f"{passed} of {size}"


@pytest.mark.parametrize("name", ["flat.svs", "deflate.svs", "cut.svs", "a.ndpi", "none.svs", "circle.svs"])
def test_other_slides_are_copied(bucket, name):
    assert far_reader(bucket.address(name)) is None


def test_a_circle_below_a_page_is_found_and_nobody_goes_round_in_it(folder, tmp_path):
    (tmp_path / "a.svs").write_bytes(going_round(folder / "a.svs"))
    with open_tiff(tmp_path / "a.svs") as tiff, pytest.raises(WorkError, match="go round in a circle"):
        every_page(tiff)
    for path in (folder / "a.svs", tmp_path / "a.svs"):
        with Slide(path) as slide:
            assert slide.size == (WIDTH, HEIGHT)


def test_tables_that_claim_all_of_the_file_are_not_fetched(folder, bucket, monkeypatch):
    monkeypatch.setattr(far, "_HEAD_BYTES", far._BLOCK)
    far._head.cache_clear()
    assert far_reader(bucket.address("a.svs")) is None


def test_tiles_that_begin_at_one_byte_end_where_each_says():
    file = FarFile(Counted(DATA), "a")  # type: ignore[arg-type]
    file.expect([(100, 300), (100, 50)])
    assert file.read(100, 300) == DATA[100:400]
    assert file.read(100, 50) == DATA[100:150]
    file.close()


def test_a_slide_on_disk_is_read_as_it_was(folder):
    assert far_reader(str(folder / "a.svs")) is None
    assert far_reader((folder / "a.svs").as_uri()) is None


@pytest.mark.usefixtures("ray_session")
def test_a_set_of_it_is_the_same_and_nothing_is_copied(folder, bucket, tmp_path):
    copies = Path(tempfile.gettempdir()) / f"raysweep-slides-{os.getuid()}"
    before = set(copies.glob(f"*-{(folder / 'a.svs').stat().st_size}"))
    spec = SPEC.model_copy(update={"slides": bucket.address("a.svs")})
    made = make(spec, read_slides(spec, tmp_path), Storage.open(tmp_path / "far"))
    local = SPEC.model_copy(update={"slides": f"{folder}/a.svs"})
    same = make(local, read_slides(local, tmp_path), Storage.open(tmp_path / "near"))
    assert made.row("a")["reader"] == "jpeg-tiff"
    assert made.shards == same.shards
    assert made.artefact.fingerprint == same.artefact.fingerprint
    assert set(copies.glob(f"*-{(folder / 'a.svs').stat().st_size}")) == before


def test_what_a_killed_process_has_left_is_removed(bucket, folder):
    left = far._Head()
    kept = far._Head()
    left.file.close()  # as the kernel does
    more = far._Head()
    assert not left.path.exists()
    assert kept.path.exists()
    assert more.path.exists()
