"""Labels and masks of patches, from the files beside the slides to the rows of shards, on a running Ray."""

import io
import json
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raysweep.patches.codec import decode
from raysweep.patches.read import PatchSet
from raysweep.randomness import stable_hash
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.entries import read_slides
from raysweep.storage import Storage

from .labels.makers import polygon, square, write_asap, write_mask, write_qupath
from .making import Made, make
from .slidemaker import write_slide

pytestmark = pytest.mark.usefixtures("ray_session")
NONE = 255  # a mask's pixel of no class
# Colours of classes 0, 1 and 2, and of none: 30 grey levels of luma apart or more, which JPEG keeps to the pixel at
# quality 100.
COLOURS = np.array([(230, 170, 200), (190, 110, 160), (120, 40, 110), (245, 215, 235)], np.int16)
LUMA = np.array([0.299, 0.587, 0.114])
EDGE = 64  # pixels of a patch, of the slide as of what is stored


def paint(classes: np.ndarray, seed: int = 0) -> np.ndarray:
    """A slide whose colours tell the class of each pixel, uint8 (h, w, 3); `classes` has 0, 1, 2 and 255."""
    noise = np.random.default_rng(seed).integers(-5, 6, (*classes.shape, 1))
    return (COLOURS[np.minimum(classes, 3)] + noise).clip(0, 255).astype(np.uint8)


def told(jpeg: bytes) -> np.ndarray:
    """The class that each pixel's luma tells."""
    found = np.abs((decode(jpeg) @ LUMA)[..., None] - COLOURS @ LUMA).argmin(axis=2)
    return np.where(found == 3, NONE, found)


def mask_of(row: dict) -> np.ndarray:
    with Image.open(io.BytesIO(row["mask"])) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        return np.asarray(image)


def part(classes: np.ndarray, row: dict) -> np.ndarray:
    """What lies under a patch."""
    return classes[row["y"] : row["y"] + EDGE, row["x"] : row["x"] + EDGE]


def spec(labels: dict, **keys) -> PatchSetSpec:
    """Patches of slides of 0.5 um per pixel as they are, wherever they lie."""
    tissue = {"method": "all", "reject": []}
    return PatchSetSpec(slides="slides.csv", um=EDGE / 2, px=EDGE, quality=100, tissue=tissue, labels=labels, **keys)


def tiled(spec: PatchSetSpec, folder: Path, out: Path, workers: int = 2) -> Made:
    return make(spec, read_slides(spec, folder), Storage.open(out), workers=workers)


def squares(made: Made, slide: str) -> dict[int | None, set[tuple[int, int]]]:
    """Columns and rows of a slide's patches by label."""
    found: dict[int | None, set[tuple[int, int]]] = {}
    for row in made.rows.to_pylist():
        if row["slide"] == slide:
            assert (row["x"] % EDGE, row["y"] % EDGE) == (0, 0)
            found.setdefault(row["label"], set()).add((row["x"] // EDGE, row["y"] // EDGE))
    return found


# --- annotated areas --------------------------------------------------------------------------------------------------

LARGE, HOLE, SMALL = (0, 0, 150, 128), (64, 64, 128, 128), (276, 212, 300, 236)
REGIONS = {
    "source": "regions",
    "classes": {"tumor": ["T1", "T2"]},
    "subtract": "Hole",
    "ignore": "Note",
    "background": "normal",
    "background_from": {"kind": "normal"},
    "absent": "background",
    "store_mask": True,
}


def outlined() -> np.ndarray:
    classes = np.zeros((256, 320), np.uint8)
    for left, top, right, bottom in (LARGE, SMALL):
        classes[top:bottom, left:right] = 1
    classes[HOLE[1] : HOLE[3], HOLE[0] : HOLE[2]] = 0
    return classes


@pytest.fixture(scope="module")
def regions(tmp_path_factory) -> Path:
    """Slides of 5 x 4 patches: the same outlines as ASAP and as QuPath write them, and two without any."""
    folder = tmp_path_factory.mktemp("regions")
    for seed, name in enumerate("abcd"):
        classes = outlined() if name in "ab" else np.zeros((256, 320), np.uint8)
        write_slide(folder / f"{name}.svs", paint(classes, seed))
    shapes = [("T1", LARGE), ("Hole", HOLE), ("T2", SMALL), ("Note", (0, 0, 320, 256))]
    write_asap(folder / "a.xml", [(name, square(*box)) for name, box in shapes])
    write_qupath(folder / "b.geojson", [(name, "Polygon", polygon(square(*box))) for name, box in shapes])
    rows = ["path,annotations,kind", "a.svs,a.xml,tumor", "b.svs,b.geojson,tumor", "c.svs,,normal", "d.svs,,tumor"]
    (folder / "slides.csv").write_text("\n".join(rows))
    return folder


BULK, RIM, MIDDLE = {(0, 0), (1, 0), (0, 1)}, {(2, 0), (2, 1)}, {(4, 3)}


@pytest.mark.parametrize(
    ("rule", "tumor"),
    [
        ("center", BULK | MIDDLE),
        ("area >= 0.3", BULK | RIM),  # 22 of 64 columns; the small one covers 24 x 24 of 64 x 64
    ],
)
def test_areas(regions, tmp_path, rule, tumor):
    made = tiled(spec(REGIONS | {"rule": rule}), regions, tmp_path)
    assert PatchSet(made.artefact.folder).classes == ["normal", "tumor"]
    assert squares(made, "a") == squares(made, "b") == {1: tumor}
    assert squares(made, "c") == {0: set(product(range(5), range(4)))}
    assert made.row("a")["dropped"] == f"{20 - len(tumor)} background of a slide that gives none"
    assert made.row("d")["status"] == "skipped"
    assert made.row("d")["reason"] == "no patch is left (20 background of a slide that gives none)"
    for row in made.rows.to_pylist():
        expected = part(outlined() if row["slide"] in "ab" else np.zeros((256, 320)), row)
        assert (mask_of(row) == expected).all()
        assert (told(row["image"]["bytes"]) == expected).all()


def test_a_cap_for_each_class_of_a_slide(regions, tmp_path):
    labels = {**REGIONS, "rule": "any", "background_from": {}}
    whole = tiled(spec(labels), regions, tmp_path / "whole")
    few = tiled(spec({**labels, "per_class": 5}), regions, tmp_path / "few")
    counts = Counter((row["slide"], row["label"]) for row in few.rows.to_pylist())
    assert counts == {("a", 0): 5, ("a", 1): 5, ("b", 0): 5, ("b", 1): 5, ("c", 0): 5, ("d", 0): 5}
    assert few.row("a")["dropped"] == "10 class cap"
    rows = {(row["slide"], row["x"], row["y"]): row for row in whole.rows.to_pylist()}
    assert all(rows[row["slide"], row["x"], row["y"]] == row for row in few.rows.to_pylist())


# --- annotated objects ------------------------------------------------------------------------------------------------


def test_points_give_shifted_patches_and_the_rest_of_the_slide_none_of_them(tmp_path):
    points = {"Mitosis": [(100, 90), (300, 200)], "NonMitosis": [(220, 110)], "Junk": [(40, 200)]}
    classes = np.zeros((288, 384), np.uint8)
    for x, y in (place for places in points.values() for place in places):
        classes[y, x] = 2
    write_slide(tmp_path / "a.svs", paint(classes))
    features = [(name, "Point", list(place)) for name, places in points.items() for place in places]
    features.append(("Mitosis", "Point", [380, 282]))  # its patches would reach out of the slide
    write_qupath(tmp_path / "a.geojson", features)
    (tmp_path / "slides.csv").write_text("path,annotations\na.svs,a.geojson")
    labels = {"source": "points", "classes": {"mitosis": "Mitosis", "mimic": "NonMitosis"}, "ignore": "Junk",
              "background": "rest", "samples": 4, "jitter": 0.25}  # fmt: skip
    made = tiled(spec(labels, stride=0.5), tmp_path, tmp_path / "out")
    assert PatchSet(made.artefact.folder).classes == ["rest", "mitosis", "mimic"]
    rows = made.rows.to_pylist()
    shifts = set()
    for label, name in ((1, "Mitosis"), (2, "NonMitosis")):
        found = [row for row in rows if row["label"] == label and (row["x"], row["y"]) != (320, 224)]
        assert len(found) == 4 * len(points[name])
        for row in found:
            [(x, y)] = [(x, y) for x, y in points[name] if abs(x - row["x"] - 32) < 40 and abs(y - row["y"] - 32) < 40]
            assert abs(row["x"] + 32 - x) <= 16.5
            assert abs(row["y"] + 32 - y) <= 16.5
            assert told(row["image"]["bytes"])[y - row["y"], x - row["x"]] == 2
            shifts.add((row["x"] - x, row["y"] - y))
    assert len(shifts) == 12
    assert [row["label"] for row in rows if (row["x"], row["y"]) == (320, 224)] == [1]
    objects = [(380, 282), *(place for places in points.values() for place in places)]
    free = {
        (x, y)
        for x, y in product(range(0, 384 - 63, 32), range(0, 288 - 63, 32))
        if not any(x <= a <= x + 64 and y <= b <= y + 64 for a, b in objects)
    }
    assert {(row["x"], row["y"]) for row in rows if row["label"] == 0} == free
    assert made.row("a")["dropped"] == f"{11 * 8 - len(free)} on an object, 3 same place"


def test_a_square_around_an_objects_own_box_becomes_the_patch(tmp_path):
    """Two have one corner, one lies at the slide's edge, and one is too small to be enlarged to a patch."""
    boxes = {(40, 50, 90, 114): 1, (200, 64, 328, 192): 2, (200, 64, 264, 128): 1, (130, 200, 160, 230): 1,
             (354, 10, 384, 80): 2}  # fmt: skip
    squares = {(33, 50, 64): 1, (200, 64, 128): 2, (200, 64, 64): 1, (314, 10, 70): 2}
    classes = np.zeros((256, 384), np.uint8)
    for (left, top, right, bottom), index in boxes.items():
        classes[top:bottom, left:right] = index
    write_slide(tmp_path / "a.svs", paint(classes))
    names = {1: "Cell", 2: "Cluster"}
    write_asap(tmp_path / "a.xml", [(names[index], square(*box), "Rectangle") for box, index in boxes.items()])
    (tmp_path / "slides.csv").write_text("path,annotations\na.svs,a.xml")
    labels = {"source": "points", "classes": {"none": [], "cell": "Cell", "cluster": "Cluster"}, "box": True}
    made = tiled(spec(labels, export=["geojson", "clam"]), tmp_path, tmp_path / "out")
    rows = {(row["x"], row["y"], round(row["mpp"] * EDGE / 0.5)): row for row in made.rows.to_pylist()}
    assert {key: row["label"] for key, row in rows.items()} == squares
    for (x, y, edge), row in rows.items():
        assert row["mpp"] == edge * 0.5 / EDGE
        assert row["key"] == stable_hash("a", x, y, edge, 0)
        assert row["image"]["path"] == f"a_{x}_{y}_{edge}.jpg"
        picture = Image.fromarray(classes[y : y + edge, x : x + edge]).resize((EDGE, EDGE), Image.Resampling.NEAREST)
        assert (told(row["image"]["bytes"]) == np.asarray(picture)).mean() > 0.97
    assert "1 objects smaller than 60.95 pixels" in made.row("a")["dropped"]
    collection = json.loads(made.artefact.folder.read_bytes("geojson", "a.geojson"))
    corners = [feature["geometry"]["coordinates"][0] for feature in collection["features"]]
    assert {(*ring[0], ring[2][0] - ring[0][0]) for ring in corners} == set(squares)
    assert {ring[2][1] - ring[0][1] for ring in corners} == {64, 70, 128}
    told_why = "clam: coordinates of CLAM hold squares of one size, and the patches of this slide are not"
    assert made.row("a")["export_missing"] == told_why
    assert not made.artefact.folder.exists("clam")


# --- mask slides ------------------------------------------------------------------------------------------------------

MASKS = {
    "source": "mask",
    "rule": "area >= 0.5",
    "values_by": "provider",
    "values": {
        "north": {"ignore": 0, "stroma": 1, "tumor": [3, 4, 5]},
        "south": {"ignore": [0, 3], "stroma": 2, "tumor": 1},
    },
    "store_mask": True,
    "absent": "skip",
}


def layout(seed: int) -> np.ndarray:
    """Blocks of stroma (0), tumour (1) and nothing (255), uint8 (300, 410); their edges have even coordinates."""
    blocks = np.random.default_rng(seed).choice(np.array([0, 1, NONE], np.uint8), (8, 9))
    return blocks.repeat(38, 0).repeat(46, 1)[:300, :410]


@pytest.fixture(scope="module")
def masks(tmp_path_factory) -> Path:
    """Two providers' masks, one as large as its slide and one of half the size, and a slide without."""
    folder = tmp_path_factory.mktemp("masks")
    for seed, name in enumerate("abc"):
        write_slide(folder / f"{name}.svs", paint(layout(seed), seed), compression="deflate")
    rng = np.random.default_rng(0)
    north = np.select([layout(0) == 0, layout(0) == 1], [np.uint8(1), rng.integers(3, 6, (300, 410), np.uint8)])
    write_mask(folder / "a.tiff", north.astype(np.uint8))
    half = layout(1)[::2, ::2]
    south = np.select([half == 0, half == 1], [2, 1], rng.choice([0, 3], half.shape))
    write_mask(folder / "b.tiff", south.astype(np.uint8), levels=1)
    rows = ["path,mask,provider", "a.svs,a.tiff,north", "b.svs,b.tiff,south", "c.svs,,south"]
    (folder / "slides.csv").write_text("\n".join(rows))
    return folder


def test_a_mask_lies_on_its_patch_to_the_pixel(masks, tmp_path):
    made = tiled(spec(MASKS), masks, tmp_path)
    assert PatchSet(made.artefact.folder).classes == ["stroma", "tumor"]
    assert made.artefact.manifest()["config"]["mask_classes"] == ["stroma", "tumor"]
    assert made.row("c")["reason"] == "no patch is left (24 no mask)"
    for seed, name in enumerate("ab"):
        expected: dict[int, set] = {}
        for column, line in product(range(6), range(4)):
            under = part(layout(seed), {"x": column * EDGE, "y": line * EDGE})
            for index in (0, 1):
                if (under == index).mean() >= 0.5:
                    expected.setdefault(index, set()).add((column, line))
        assert squares(made, name) == expected
        assert len(expected) == 2
    for row in made.rows.to_pylist():
        expected_mask = part(layout("ab".index(row["slide"])), row)
        assert (mask_of(row) == expected_mask).all()
        assert (told(row["image"]["bytes"]) == expected_mask).all()


def test_four_workers_write_the_same_masks_and_labels(masks, regions, tmp_path):
    for folder, labels in ((masks, MASKS), (regions, REGIONS | {"rule": "any", "per_class": 4})):
        one, four = (tiled(spec(labels), folder, tmp_path / folder.name / str(n), workers=n) for n in (1, 4))
        assert one.shards == four.shards
        assert one.table.drop_columns(["tile_seconds"]).equals(four.table.drop_columns(["tile_seconds"]))
        assert all(row["mask"] is not None and row["label"] is not None for row in one.rows.to_pylist())


# --- the slide table --------------------------------------------------------------------------------------------------


def test_many_names_of_the_table_to_one_class(tmp_path):
    lines = ["path,label,mask", "a.svs,colon,m.tiff", "b.svs,rectum,m.tiff", "c.svs,lung,", "d.svs,other,m.tiff"]
    lines.append("e.svs,,m.tiff")
    for seed, name in enumerate("abcde"):
        write_slide(tmp_path / f"{name}.svs", paint(layout(seed), seed))
    write_mask(tmp_path / "m.tiff", (layout(0) == 1).astype(np.uint8))
    (tmp_path / "slides.csv").write_text("\n".join(lines))
    labels = {"classes": {"lung": "lung", "bowel": ["colon", "rectum"]}, "ignore": "other", "per_class": 7,
              "store_mask": True, "values": {"ignore": 0, "gland": 1}, "absent": "skip"}  # fmt: skip
    made = tiled(spec(labels), tmp_path, tmp_path / "out")
    assert PatchSet(made.artefact.folder).classes == ["lung", "bowel"]
    assert made.artefact.manifest()["config"]["mask_classes"] == ["gland"]
    counts = Counter((row["slide"], row["label"]) for row in made.rows.to_pylist())
    assert counts == {("a", 1): 7, ("b", 1): 7, ("e", None): 7}
    assert made.row("a")["dropped"] == "17 cap of the slide"
    assert (made.row("d")["status"], made.row("d")["reason"]) == ("skipped", "its label other is ignored")
    assert (made.row("c")["status"], made.row("c")["reason"]) == ("skipped", "no patch is left (24 no mask)")
    strict = tiled(spec(labels | {"absent": "fail"}), tmp_path, tmp_path / "strict")
    assert strict.row("c")["status"] == "failed"
    assert strict.row("c")["reason"].startswith("the slide table names no mask for this slide; name the file")
    for row in made.rows.to_pylist():
        assert (mask_of(row) == np.where(part(layout(0), row) == 1, 0, NONE)).all()
