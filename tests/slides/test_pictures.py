"""Folders of large labelled pictures to patch sets."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raysweep.errors import RequestError, WorkError
from raysweep.patches.codec import decode, encode_jpeg
from raysweep.patches.read import PatchSet
from raysweep.slides.slide import Slide
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.entries import read_slides
from raysweep.storage import Storage
from tests.bucket import serve_bucket

from .making import make
from .slidemaker import tissue, write_slide

KEYS = {"um": 64, "px": 64, "slide_mpp": 0.62, "tissue": "all", "stride": 0.5}


def folder_of(folder: Path, names: list[str]) -> Path:
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(tissue(200, 150, seed)).save(folder / name)
    return folder


def test_the_mpp_of_the_study_is_the_last_that_counts(tmp_path):
    picture = folder_of(tmp_path, ["a.png"]) / "a.png"
    with Slide(picture, fallback_mpp=0.62) as slide:
        assert (slide.mpp, slide.mpp_xy, slide.mpp_source) == (0.62, (0.62, 0.62), "study")
    with Slide(picture, 0.5, fallback_mpp=0.62) as slide:
        assert (slide.mpp, slide.mpp_source) == (0.5, "table")
    with Slide(write_slide(tmp_path / "a.svs", tissue(64, 64), mpp=0.25), fallback_mpp=0.62) as slide:
        assert (slide.mpp, slide.mpp_source) == (0.25, "metadata")
    Image.fromarray(tissue(64, 64)).save(tmp_path / "print.tif", dpi=(300, 300))
    with Slide(tmp_path / "print.tif", fallback_mpp=0.62) as slide:  # a printer's resolution says nothing
        assert (slide.mpp, slide.mpp_source) == (0.62, "study")
    with pytest.raises(WorkError, match=r"^no mpp"):
        Slide(picture)


def test_braces_fill_columns(tmp_path):
    folder_of(tmp_path, ["train/benign/p1_a.png", "train/benign/p1_b.png", "test/malignant/p2_c.png"])
    spec = PatchSetSpec(slides="{split}/{label}/{patient}_{part}.png", **KEYS)
    entries = read_slides(spec, tmp_path)
    told = [(e.name, e.split, e.label, e.patient, e.extra) for e in entries]
    assert told == [
        ("p1_a", "train", "benign", "p1", {"part": "a"}),
        ("p1_b", "train", "benign", "p1", {"part": "b"}),
        ("p2_c", "test", "malignant", "p2", {"part": "c"}),
    ]
    for where, left in [({"label": "benign", "part": "b"}, ["p1_b"]), ({"split": "test"}, ["p2_c"])]:
        assert [e.name for e in read_slides(spec.model_copy(update={"where": where}), tmp_path)] == left
    named = PatchSetSpec(slides="*/*/{patient}_{slide}.png", **KEYS)
    assert [(e.name, e.patient) for e in read_slides(named, tmp_path)] == [("a", "p1"), ("b", "p1"), ("c", "p2")]
    absolute = PatchSetSpec(slides=f"{tmp_path}/{{split}}/{{label}}/*.png", **KEYS)
    assert [e.label for e in read_slides(absolute, Path("/"))] == ["benign", "benign", "malignant"]


@pytest.mark.parametrize(
    ("slides", "message"),
    [
        ("{label/*.png", "slides {label/*.png: a brace has no partner between the same two slashes"),
        ("{}/*.png", "{} names no column that a path can tell"),
        (
            "{split}/*.png",
            "slides {split}/*.png, benign/a.png: `split` is benign, benign/b.png: `split` is benign; write one",
        ),
        ("{label}/*.tif", "no such file below"),
        ("{slide}/*.png", "2 slides are called benign"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path, slides, message):
    folder_of(tmp_path, ["benign/a.png", "benign/b.png"])
    with pytest.raises(RequestError) as error:
        read_slides(PatchSetSpec(slides=slides, **KEYS), tmp_path)
    assert message in str(error.value)


def test_files_of_one_stem_are_called_by_their_path(tmp_path):
    folder_of(tmp_path, ["set/benign/1.png", "set/malignant/1.png", "set/malignant/2.v1.png"])
    names = ["2.v1", "benign/1", "malignant/1"]
    for slides in ("set/{label}/*.png", "set/**/*.png"):
        assert [e.name for e in read_slides(PatchSetSpec(slides=slides, **KEYS), tmp_path)] == names
    one = PatchSetSpec(slides="set/{label}/*.png", where={"label": "benign"}, **KEYS)
    assert [e.name for e in read_slides(one, tmp_path)] == ["benign/1"]  # a filter renames nothing


def test_braces_in_an_address(tmp_path):
    with serve_bucket() as bucket:
        for name in ("set/train/b 1/x.png", "set/test/m/x.png", "set/test/m/y.png", "set/note.txt"):
            bucket.put(name, b"x")
        expected = [("test/m/x", "test", "m"), ("train/b 1/x", "train", "b 1"), ("y", "test", "m")]
        plain = f"s3://testing:hush@slides/set/{{split}}/{{label}}/*.png?{bucket.address().partition('?')[2]}"
        for keys in ({"slides": plain}, {"slides": "{split}/{label}/*.png", "root": bucket.address("set")}):
            entries = read_slides(PatchSetSpec(**keys, **KEYS), tmp_path)
            assert [(e.name, e.split, e.label) for e in entries] == expected
            assert [e.path for e in entries] == [
                bucket.address(f"set/{name}") for name in ("test/m/x.png", "train/b 1/x.png", "test/m/y.png")
            ]


@pytest.mark.usefixtures("ray_session")
def test_a_folder_of_crops_is_a_patch_set(test_data, tmp_path):
    with open(test_data / "glas/manifest.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["width"], row["height"]) == ("775", "522")]
    for grade in ("benign", "malignant"):
        for number, row in enumerate([row for row in rows if row["grade"] == grade][:2]):
            target = tmp_path / "set" / grade / f"{number}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(next((test_data / "glas/images").glob(f"{row['name']}.*")), target)
    spec = PatchSetSpec(slides="set/{label}/*.png", export=["clam", "geojson"], **KEYS)
    made = make(spec, read_slides(spec, tmp_path), Storage.open(tmp_path / "out"))
    names = ["benign/0", "benign/1", "malignant/0", "malignant/1"]
    # 64 um are 103.2 px of the crop, half of that from patch to patch: every place on the grid, tissue or not.
    columns, across = (775 - 64 / 0.62) // (32 / 0.62) + 1, (522 - 64 / 0.62) // (32 / 0.62) + 1
    assert made.table["slide"].to_pylist() == names
    for row in made.table.to_pylist():
        assert (row["status"], row["mpp"], row["mpp_source"], row["reader"]) == ("done", 0.62, "study", "picture")
        assert (row["n_patches"], row["n_tissue"], row["dropped"]) == (columns * across, columns * across, None)
        assert row["label"] == row["slide"].split("/")[0]
        assert decode(made.artefact.folder.read_bytes(row["overlay"])).shape[2] == 3
    rows = made.rows.to_pylist()
    assert {(row["slide"].split("/")[0], row["label"]) for row in rows} == {("benign", 0), ("malignant", 1)}
    assert {row["mpp"] for row in rows} == {1.0}
    assert {row["image"]["path"] for row in rows} == {f"{r['slide']}_{r['x']}_{r['y']}.jpg" for r in rows}
    patches = PatchSet(made.artefact.folder)
    assert (patches.classes, patches.sources) == (["benign", "malignant"], names)
    # Pixels: the patch at the corner is the corner of the crop, smaller.
    corner = next(row for row in rows if (row["slide"], row["x"], row["y"]) == ("benign/0", 0, 0))
    with Image.open(tmp_path / "set/benign/0.png") as image:
        expected = np.asarray(image.convert("RGB").crop((0, 0, 103, 103)).resize((64, 64), Image.Resampling.BICUBIC))
    found, stored = decode(corner["image"]["bytes"]).astype(int), decode(encode_jpeg(expected, 90))
    assert np.abs(found - stored).mean() < 1

    # The exported coordinates are found again by the names with a slash.
    folder = made.artefact.folder
    assert folder.names("clam") == [name.replace("/", "%2F") + ".h5" for name in names]
    again = PatchSetSpec(slides=spec.slides, coords=folder.path("clam"), um=64, px=64, slide_mpp=0.62, tissue="all")
    same = make(again, read_slides(again, tmp_path), Storage.open(tmp_path / "again"))
    places = [sorted((r["slide"], r["x"], r["y"], r["label"]) for r in m.rows.to_pylist()) for m in (made, same)]
    assert places[0] == places[1]
