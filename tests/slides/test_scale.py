"""Native scale: the slides' own pixels, and their own JPEG tiles where all slides allow it."""

from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import tifffile
from PIL import Image

from raysweep.patches.codec import decode
from raysweep.patches.read import PatchSet
from raysweep.slides.slide import Slide
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.entries import read_slides
from raysweep.storage import Storage

from .making import make
from .slidemaker import tissue

pytestmark = pytest.mark.usefixtures("ray_session")


def write(path: Path, *, mpp: float = 0.5, tile: int = 64, kind: str = "ycbcr", seed: int = 0, size=(330, 200)) -> Path:
    about = f"Aperio Image Library v12\r\nAppMag = 20|MPP = {mpp}"
    how = {"tile": (tile, tile), "compression": kind if kind == "deflate" else "jpeg", "metadata": None}
    how |= {"photometric": "ycbcr", "subsampling": (2, 2)} if kind == "ycbcr" else {"photometric": "rgb"}
    with tifffile.TiffWriter(path) as tiff:
        pixels = tissue(*size, seed)
        if kind == "ycbcr":  # tifffile takes them as they are
            pixels = np.asarray(Image.fromarray(pixels).convert("YCbCr"))
        tiff.write(pixels, description=about, **how)
        tiff.write(pixels[::8, ::8], photometric="rgb", rowsperstrip=16, description=about, metadata=None)
    return path


def native(folder: Path, out: Path, **keys):
    spec = PatchSetSpec(slides=f"{folder}/*.svs", mpp="native", px=64, **keys)
    return make(spec, read_slides(spec, folder), Storage.open(out))


def test_tiles_are_stored_as_they_are(tmp_path):
    wsi = tmp_path / "wsi"
    wsi.mkdir()
    for seed, (name, kind) in enumerate({"a": "ycbcr", "b": "rgb"}.items()):
        write(wsi / f"{name}.svs", kind=kind, seed=seed)
    made = native(wsi, tmp_path / "out")
    rows = made.rows.to_pylist()
    assert {(r["slide"], r["x"], r["y"]) for r in rows} == {
        (s, x, y) for s in "ab" for x in range(0, 320, 64) for y in range(0, 192, 64)
    }
    for row in rows:
        with tifffile.TiffFile(wsi / f"{row['slide']}.svs") as tiff, Slide(wsi / f"{row['slide']}.svs") as slide:
            page = tiff.pages[0]
            index = row["y"] // 64 * 6 + row["x"] // 64
            data = (wsi / f"{row['slide']}.svs").read_bytes()[page.dataoffsets[index] :][: page.databytecounts[index]]
            scan = data[data.index(b"\xff\xda") :]
            assert row["image"]["bytes"].endswith(scan)  # the very same compressed pixels
            pixels = decode(row["image"]["bytes"])
            np.testing.assert_array_equal(pixels, slide.read(0, row["x"], row["y"], 64, 64))
            segment, _, _ = page.decode(data, index, jpegtables=page.jpegtables)  # neither OpenSlide nor our reader
            np.testing.assert_array_equal(pixels, segment.reshape(64, 64, 3))
        assert (row["mpp"], row["source_mpp"]) == (0.5, 0.5)
    config = made.artefact.manifest()["config"]
    assert (config["kernel"], config["mpp"], config["um"]) == ("none: the slides' own JPEG tiles", 0.5, 32.0)
    assert PatchSet(made.artefact.folder).mpp == 0.5


@pytest.mark.parametrize("odd", [{"tile": 48}, {"kind": "deflate"}])
def test_all_slides_or_none(tmp_path, odd):
    wsi = tmp_path / "wsi"
    wsi.mkdir()
    write(wsi / "a.svs", kind="rgb")
    write(wsi / "b.svs", **odd)
    made = native(wsi, tmp_path / "out")
    assert made.artefact.manifest()["config"]["kernel"] == "bicubic, antialiased"
    assert {row["slide"] for row in made.rows.to_pylist()} == {"a", "b"}
    with Slide(wsi / "a.svs") as slide:
        for row in made.rows.to_pylist():
            if row["slide"] == "a":
                again = simplejpeg.encode_jpeg(slide.read(0, row["x"], row["y"], 64, 64), 90, "RGB", "420")
                assert row["image"]["bytes"] == again


@pytest.mark.parametrize("keys", [{"stride": 0.5}, {"icc": "srgb"}])
def test_what_needs_pixels_decodes_them(tmp_path, keys):
    wsi = tmp_path / "wsi"
    wsi.mkdir()
    write(wsi / "a.svs")
    made = native(wsi, tmp_path / "out", **keys)
    assert made.artefact.manifest()["config"]["kernel"] == "bicubic, antialiased"


def test_slides_of_another_scale_are_skipped(tmp_path):
    wsi = tmp_path / "wsi"
    wsi.mkdir()
    for seed, (name, mpp) in enumerate({"a": 0.5, "b": 0.499, "c": 0.51, "fine": 0.25}.items()):
        write(wsi / f"{name}.svs", mpp=mpp, seed=seed)
    (wsi / "text.svs").write_text("no slide")
    made = native(wsi, tmp_path / "out")
    assert made.row("fine")["status"] == "skipped"
    assert made.row("fine")["reason"].startswith(
        "native scale of 0.25 um per pixel where the patch set's slides have 0.499"
    )
    assert made.row("text")["status"] == "failed"
    assert {(row["slide"], row["mpp"]) for row in made.rows.to_pylist()} == {("a", 0.5), ("b", 0.499), ("c", 0.51)}
    assert made.artefact.manifest()["config"]["mpp"] == 0.499


def test_looking_is_not_repeated(tmp_path):
    wsi = tmp_path / "wsi"
    wsi.mkdir()
    write(wsi / "a.svs")
    made = native(wsi, tmp_path / "out")
    looks = made.spool.names("native")
    assert len(looks) == 1
    (wsi / "a.svs").write_bytes(b"")  # whoever opened it now would find nothing
    again = make(PatchSetSpec(slides="x", mpp="native", px=64), made.slides, Storage.open(tmp_path / "two"), made.spool,
                 inputs=made.artefact.inputs)  # fmt: skip
    assert again.shards == made.shards
