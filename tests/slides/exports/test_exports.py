"""Kept places for other programs, and coordinates from them."""

import io
import json

import h5py
import numpy as np
import pytest
import tifffile
from rich.console import Console

from raysweep.errors import WorkError
from raysweep.progress import Progress
from raysweep.slides.annotations.formats import read_annotations
from raysweep.slides.grid import lay_grid
from raysweep.slides.slide import Slide
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.entries import read_slides
from raysweep.storage import Storage

from ..making import make
from ..slidemaker import slide_with_tissue, write_slide

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture(scope="module")
def wsi(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wsi")
    for seed, name in enumerate(("a", "b c")):
        write_slide(folder / f"{name}.svs", slide_with_tissue(640, 480, (100, 60, 500, 400), seed), mpp=0.499)
    return folder


def test_places_are_written_and_read_again(wsi, tmp_path):
    keys = {"um": 32, "px": 64}
    spec = PatchSetSpec(slides=f"{wsi}/*.svs", export=["clam", "trident", "geojson"], **keys)
    made = make(spec, read_slides(spec, wsi), Storage.open(tmp_path / "out"))
    folder = made.artefact.folder
    for slide in ("a", "b c"):
        kept = sorted((r["x"], r["y"]) for r in made.rows.to_pylist() if r["slide"] == slide)
        for tool in ("clam", "trident"):
            path = tmp_path / "coords.h5"
            path.write_bytes(folder.read_bytes(tool, f"{slide}.h5"))
            with h5py.File(path) as file:
                assert sorted(map(tuple, file["coords"][:].tolist())) == kept
        path = tmp_path / f"{slide}.geojson"
        path.write_bytes(folder.read_bytes("geojson", f"{slide}.geojson"))
        assert sorted((int(s.geometry.bounds[0]), int(s.geometry.bounds[1])) for s in read_annotations(path)) == kept
        assert len(json.loads(path.read_bytes())["features"]) == len(kept)
    given = PatchSetSpec(slides=f"{wsi}/*.svs", coords=folder.path("trident"), **keys)  # CLAM's: `test_pictures.py`
    again = make(given, read_slides(given, wsi), Storage.open(tmp_path / "again"))
    assert again.table["n_patches"].to_pylist() == made.table["n_patches"].to_pylist()
    places = [np.array(sorted((r["slide"] == "a", r["y"], r["x"]) for r in m.rows.to_pylist())) for m in (made, again)]
    assert abs(places[0] - places[1]).max() <= 1


@pytest.mark.parametrize(("um", "px"), [(47.3, 64), (47.3, 16)])
def test_qupath_gets_the_rectangles_that_were_read(wsi, tmp_path, um, px):
    """Edges are rounded on their own, so one place is a pixel wider than the next."""
    spec = PatchSetSpec(slides=f"{wsi}/a.svs", um=um, px=px, export=["geojson"])
    made = make(spec, read_slides(spec, wsi), Storage.open(tmp_path / "out"))
    with Slide(wsi / "a.svs") as slide:
        grid = lay_grid(spec, slide.mpp_xy, slide.level_sizes, slide.downsamples)
    read = {tuple(corner): rect for corner, rect in
            zip(grid.all().corner.tolist(), grid.all().rects(grid.downsample).tolist(), strict=True)}  # fmt: skip
    features = json.loads(made.artefact.folder.read_bytes("geojson", "a.geojson"))["features"]
    rings = [feature["geometry"]["coordinates"][0] for feature in features]
    kept = [read[row["x"], row["y"]] for row in made.rows.to_pylist()]
    assert sorted([*ring[0], *ring[2]] for ring in rings) == sorted(kept)
    assert len({(right - left, bottom - top) for left, top, right, bottom in kept}) > 1


def test_an_export_that_does_not_fit_a_slide_is_missing_and_told(wsi, tmp_path):
    """Of a slide whose pixels are no squares patches are none for CLAM and TRIDENT, unless by less than a per cent."""
    for name, mpp in (("long", (0.499, 0.52)), ("near", (0.2528, 0.2522))):
        pixels = slide_with_tissue(640, 480, (100, 60, 500, 400))
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels, tile=(64, 64), photometric="rgb", compression="jpeg",
                         resolution=(1e4 / mpp[0], 1e4 / mpp[1]), resolutionunit=3, metadata=None)  # fmt: skip
    (tmp_path / "slides.csv").write_text(f"path\nlong.tif\nnear.tif\n{wsi}/a.svs\n")
    spec = PatchSetSpec(slides="slides.csv", um=32, px=64, export=["clam", "trident", "geojson"])
    shown = io.StringIO()
    made = make(
        spec, read_slides(spec, tmp_path), Storage.open(tmp_path / "out"), progress=Progress(Console(file=shown))
    )
    assert made.artefact.done()
    assert made.table["status"].to_pylist() == ["done"] * 3
    folder = made.artefact.folder
    assert folder.names("clam") == folder.names("trident") == ["a.h5", "near.h5"]
    assert folder.names("geojson") == ["a.geojson", "long.geojson", "near.geojson"]
    why = "hold squares of one size, and the patches of this slide are not"
    assert made.table["export_missing"].to_pylist() == [
        None, f"clam: coordinates of CLAM {why}; trident: coordinates of TRIDENT {why}", None]  # fmt: skip
    assert folder.read_table("slides.parquet").equals(made.table)
    assert "small: 1 of 3 slides lack an export, which the column export_missing of slides.parquet tells, such as " \
        "long: clam: coordinates" in shown.getvalue()  # fmt: skip


def test_nothing_is_written_unasked(wsi, tmp_path):
    spec = PatchSetSpec(slides=f"{wsi}/a.svs", um=32, px=64)
    made = make(spec, read_slides(spec, wsi), Storage.open(tmp_path))
    assert made.artefact.folder.names() == [
        "manifest.json", "merge.json", "overlays", "shards", "shards.json", "slides.parquet"]  # fmt: skip


def test_coordinates_of_another_slide_are_refused(wsi, tmp_path):
    keys = {"um": 32, "px": 64}
    spec = PatchSetSpec(slides=f"{wsi}/a.svs", export=["trident"], **keys)
    made = make(spec, read_slides(spec, wsi), Storage.open(tmp_path / "out"))
    (tmp_path / "h5").mkdir()
    (tmp_path / "h5" / "b c.h5").write_bytes(made.artefact.folder.read_bytes("trident", "a.h5"))
    wider = PatchSetSpec(slides=f"{wsi}/*.svs", coords=str(tmp_path / "h5"), um=64, px=64)
    entries = [entry for entry in read_slides(wider, wsi) if entry.name == "b c"]
    with pytest.raises(WorkError, match=r"could be tiled: b c: the file .* level-0 pixels and patches have 128"):
        make(wider, entries, Storage.open(tmp_path / "two"))
