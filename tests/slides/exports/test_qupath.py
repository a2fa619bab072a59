"""The kept grid as QuPath reads it."""

import json

import numpy as np

from raysweep.slides.exports.qupath import kept_grid
from raysweep.slides.grid import lay_grid
from raysweep.slides.spec import PatchSetSpec


def test_each_place_is_a_tile_of_the_pixels_that_are_read():
    spec = PatchSetSpec(slides="x.csv", um=112, px=224)
    grid = lay_grid(spec, (0.2527, 0.2527), ((8000, 6000), (3200, 2400)), ((1.0, 1.0), (2.5, 2.5)))
    places = grid.all().pick(np.array([0, 7, 20]))
    places = places.but(tissue=np.array([0.5, 1, 0.123456], np.float32), label=np.array([1, -1, 0], np.int32))
    found = json.loads(kept_grid(places, grid, ["stroma", "tumör"]))
    assert found["type"] == "FeatureCollection"
    for feature, rect in zip(found["features"], places.rects(grid.downsample), strict=True):
        left, top, right, bottom = rect
        assert feature["type"] == "Feature"
        assert feature["geometry"] == {
            "type": "Polygon",
            "coordinates": [[[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]],
        }
        assert feature["properties"]["objectType"] == "tile"
    properties = [feature["properties"] for feature in found["features"]]
    assert [p.get("classification") for p in properties] == [{"name": "tumör"}, None, {"name": "stroma"}]
    assert [p["measurements"] for p in properties] == [{"tissue": 0.5}, {"tissue": 1.0}, {"tissue": 0.1235}]


def test_whole_pixels_are_whole_numbers_and_bytes_are_the_same_again():
    grid = lay_grid(PatchSetSpec(slides="x.csv", um=64, px=64), (1.0, 1.0), ((128, 128),), ((1.0, 1.0),))
    text = kept_grid(grid.all(), grid)
    assert b"[[0,0],[64,0],[64,64],[0,64],[0,0]]" in text
    assert text == kept_grid(grid.all(), grid)


def test_no_place_is_an_empty_collection():
    grid = lay_grid(PatchSetSpec(slides="x.csv", um=64, px=64), (1.0, 1.0), ((32, 32),), ((1.0, 1.0),))
    assert json.loads(kept_grid(grid.all(), grid)) == {"type": "FeatureCollection", "features": []}
