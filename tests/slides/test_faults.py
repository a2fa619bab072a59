"""Slides of which something is wrong: every bad one is named, every good one is complete.

Faults of one part have their test beside the part; here they come together, from the command down to the shards.
"""

import contextlib
import io
import os
import re
import shutil
import struct
import sys
import zlib
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import tifffile
import yaml

from raysweep.cli import main
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.entries import read_slides
from raysweep.storage import Storage

from .labels.makers import polygon, square, write_mask, write_qupath
from .making import make
from .slidemaker import tissue, write_slide

pytestmark = pytest.mark.usefixtures("ray_session")

KEYS = {
    "um": 32,
    "px": 32,
    "labels": {
        "source": "regions",
        "rule": "any",
        "classes": {"tumour": ["Tumor"]},
        "background": "normal",
        "store_mask": True,
        "values": {"stroma": 0, "gland": 1},
    },
}
GOOD = ("good1", "good2")
BAD = {
    "cut": r"^truncated: \d+ of 100 tiles of level 0, the first in column 5, row 5, lie beyond the end of the file",
    "late": r"^truncated: 200 of 1600 tiles of level 0, the first in column 0, row 35, lie beyond the end of the file",
    "burnt": r"^pixels cannot be read at level 0, x 0, y \d+ \(",
    "folder": r"^the file is missing or cannot be read: folder\.svs$",
    "dangling": r"^the file is missing or cannot be read: dangling\.svs$",
    "locked": r"^the file is missing or cannot be read: locked\.svs$",
    "scale": r"mask .*wide\.tiff: is at the wrong scale: 100 x 50 pixels have not the shape of the slide's 320 x 320$",
    "value": r"mask .*values\.tiff: .*7",
    "named": r"Necrosis",
    "claims": r"^damaged: it names 25 of the 1125899906842624 tiles of level 0$",
    "large": r"^tiles of 32752 x 32752 pixels at level 0: too large to be read$",
    "bomb": r"^a picture that is too large to be read \(Image size \(3600000000 pixels\)",
    "maskbomb": r"^mask .*bomb\.png: ",
    "text": r"^not a slide or picture that can be read",
}


def first_directory(path: Path, pixels: np.ndarray) -> Path:
    """A slide of JPEG tiles whose only directory stands before its pixels."""
    tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb", compression="jpeg", resolution=(20_000, 20_000),
                     resolutionunit=3)  # fmt: skip
    return path


def last_pixels(path: Path, pixels: np.ndarray) -> Path:
    """A slide of lossless tiles whose level 0 stands behind all else in the file: cut off there, OpenSlide opens it."""
    write_slide(path, pixels)
    with tifffile.TiffFile(path, mode="r+b") as tiff, open(path, "ab") as file:
        page, moved = tiff.pages[0], []
        data = path.read_bytes()
        for start, size in zip(page.dataoffsets, page.databytecounts, strict=True):
            moved.append(file.tell())
            file.write(data[start : start + size])
        page.tags["TileOffsets"].overwrite(moved)
    return path


def cut_at(path: Path, tile: int) -> None:
    """Cut a file off within a tile of level 0."""
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages[0].dataoffsets[tile]
    path.write_bytes(path.read_bytes()[: start + 10])


def overwrite(path: Path, tile: int) -> None:
    """Zeros in place of a tile of level 0: its survey still works."""
    with tifffile.TiffFile(path) as tiff:
        start, size = tiff.pages[0].dataoffsets[tile], tiff.pages[0].databytecounts[tile]
    data = path.read_bytes()
    path.write_bytes(data[:start] + bytes(size) + data[start + size :])


def claim(path: Path, **tags: int) -> None:
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for name, value in tags.items():
            tiff.pages[0].tags[name].overwrite(value)


def png_bomb(path: Path) -> Path:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(bytes(7501 * 1000)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + rows + chunk(b"IEND", b""))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two good slides and one of each kind that is bad, with masks, annotations and a study."""
    folder = tmp_path_factory.mktemp("wsi")
    pixels = [tissue(320, 320, seed) for seed in range(2)]
    for name in ("good1", "scale", "value", "named", "claims", "large", "maskbomb"):
        write_slide(folder / f"{name}.svs", pixels[0], downsamples=(4,))
    write_slide(folder / "good2.svs", pixels[1], compression="jpeg", downsamples=(2,))
    cut_at(first_directory(folder / "cut.svs", tissue(640, 640)), 55)
    cut_at(last_pixels(folder / "late.svs", tissue(2560, 2560)), 1400)
    overwrite(write_slide(folder / "burnt.svs", tissue(2560, 2560)), 1400)
    (folder / "folder.svs").mkdir()
    (folder / "dangling.svs").symlink_to(folder / "nowhere.svs")
    shutil.copy(folder / "good1.svs", folder / "locked.svs")
    if os.geteuid() == 0:  # root reads everything: in its place a link to itself
        (folder / "locked.svs").unlink()
        (folder / "locked.svs").symlink_to(folder / "locked.svs")
    else:
        (folder / "locked.svs").chmod(0)
    claim(folder / "claims.svs", ImageWidth=2**31 - 1, ImageLength=2**31 - 1)
    claim(folder / "large.svs", **dict.fromkeys(("TileWidth", "TileLength", "ImageWidth", "ImageLength"), 32_752))
    png_bomb(folder / "bomb.png")
    (folder / "text.svs").write_text("this is no slide\n" * 100)

    right = np.zeros((80, 80), np.uint8)
    right[:40] = 1
    write_mask(folder / "right.tiff", right)
    write_mask(folder / "wide.tiff", np.zeros((50, 100), np.uint8))
    write_mask(folder / "values.tiff", np.where(np.arange(80) < 60, right, 7).astype(np.uint8))
    tumor = ("Tumor", "Polygon", polygon(square(0, 0, 100, 100)))
    write_qupath(folder / "right.geojson", [tumor])
    write_qupath(folder / "other.geojson", [tumor, ("Necrosis", "Polygon", polygon(square(200, 0, 300, 90)))])
    masks = {"scale": "wide.tiff", "value": "values.tiff", "maskbomb": "bomb.png"}
    files = {name: f"{name}.svs" for name in (*BAD, *GOOD)} | {"bomb": "bomb.png"}
    lines = [
        f"{name},{file},{'0.5' * (name == 'bomb')},{masks.get(name, 'right.tiff')},"
        f"{'other' if name == 'named' else 'right'}.geojson"
        for name, file in files.items()
    ]
    (folder / "slides.csv").write_text("\n".join(["\ufeffslide, path, mpp, mask ,annotations", *lines]))
    study = {
        "name": "faults",
        "storage": str(folder / "runs"),
        "patches": {"tissue": {"slides": "slides.csv", **KEYS, "max_failed": 1}},
        "checkpoints": {"random": {"backbone": "resnet10t"}},
        "compute": {"cut_mpx": 1},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def told(folder, ray_session) -> tuple[int, str]:
    """The exit code and the output of `raysweep tile` for that study."""
    printed = io.StringIO()
    with (
        patch.object(sys, "argv", ["raysweep", "tile", str(folder / "study.yaml")]),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        pytest.raises(SystemExit) as stop,
    ):
        main()
    return int(stop.value.code or 0), printed.getvalue()


@pytest.fixture(scope="module")
def home(folder, told) -> Storage:
    return Storage.open(folder / "runs/faults")


def patch_set(home: Storage) -> Storage:
    return home.at("patches", "tissue", home.read_bytes("patches", "tissue", "current").decode().strip())


def test_the_command_ends_with_3_and_names_every_bad_slide(told):
    code, text = told
    assert code == 3, text
    for slide, reason in BAD.items():
        said = re.search(rf"^failed: slide {slide} of patch set tissue: (.*)$", text, re.MULTILINE)
        assert said, text
        assert re.search(reason, said[1])
    assert "good" not in re.sub(r".*under several names.*", "", text)  # their pixels are the same
    assert "Traceback" not in text


@pytest.mark.parametrize("slide", BAD)
def test_a_bad_slide_fails_with_its_reason(home, slide):
    row = next(r for r in patch_set(home).read_table("slides.parquet").to_pylist() if r["slide"] == slide)
    assert (row["status"], row["n_patches"]) == ("failed", 0)
    assert re.search(BAD[slide], row["reason"]), row["reason"]


def test_nothing_of_the_bad_slides_is_kept_and_good_ones_are_as_if_alone(home, folder, tmp_path):
    spec = PatchSetSpec(slides="slides.csv", where={"slide": list(GOOD)}, **KEYS)
    alone = make(spec, read_slides(spec, folder), Storage.open(tmp_path))
    assert alone.table["status"].to_pylist() == ["done", "done"]
    assert alone.table["n_patches"].to_pylist() == [25, 25]
    there = patch_set(home)
    assert {name: there.read_bytes("shards", name) for name in there.names("shards")} == alone.shards
    folders = [name for name in home.names("spool") if home.exists("spool", name, "slide.json")]
    assert home.names("spool") == [*folders, "kin"]
    assert len(folders) == len(GOOD)


def test_a_link_to_nothing_is_not_passed_over_by_a_glob(folder):
    found = {entry.name for entry in read_slides(PatchSetSpec(slides="*.svs", **KEYS), folder)}
    assert {"dangling", "locked", *GOOD} <= found
    assert "folder" not in found  # what belongs to a slide may be a folder of its name
