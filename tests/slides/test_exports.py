"""Kept places for other programs, and coordinates from them."""

import json

import h5py
import numpy as np
import pytest

from raysweep.errors import WorkError
from raysweep.slides.annotations.read import read_annotations
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table import read_slides
from raysweep.storage import Storage

from .making import make
from .slidemaker import slide_with_tissue, write_slide

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
    for tool in ("clam", "trident"):
        given = PatchSetSpec(slides=f"{wsi}/*.svs", coords=folder.path(tool), **keys)
        again = make(given, read_slides(given, wsi), Storage.open(tmp_path / tool))
        assert again.table["n_patches"].to_pylist() == made.table["n_patches"].to_pylist()
        places = [
            np.array(sorted((r["slide"] == "a", r["y"], r["x"]) for r in m.rows.to_pylist())) for m in (made, again)
        ]
        assert abs(places[0] - places[1]).max() <= 1


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
