"""Scored tiles as QuPath reads them."""

import json
from pathlib import Path

import pytest

from raysweep.errors import WorkError
from raysweep.slides.exports import scored
from raysweep.slides.exports.scored import ScoredTiles


def _read(path: Path) -> list[dict]:
    collection = json.loads(path.read_text(encoding="utf-8"))
    assert collection["type"] == "FeatureCollection"
    return collection["features"]


def test_one_slide_is_one_file_of_that_name(tmp_path: Path) -> None:
    with ScoredTiles(tmp_path / "a.geojson", ["stroma", "tumör"]) as tiles:
        tiles.add("slide", (10, 20), (443.25, 448.0), 1, {"probability_tumör": 0.87654321})
    assert tiles.files == [tmp_path / "a.geojson"] == list(tmp_path.iterdir())
    (feature,) = _read(tmp_path / "a.geojson")
    ring = [[10, 20], [453.25, 20], [453.25, 468], [10, 468], [10, 20]]
    assert feature["geometry"] == {"type": "Polygon", "coordinates": [ring]}
    assert feature["properties"] == {
        "objectType": "tile",
        "classification": {"name": "tumör", "color": [213, 94, 0]},
        "measurements": {"probability_tumör": 0.876543},
    }


def test_several_slides_in_any_order_are_a_file_each_whatever_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for held in (2**25, 1):
        monkeypatch.setattr(scored, "_HELD", held)
        folder = tmp_path / str(held)
        folder.mkdir()
        with ScoredTiles(folder / "a.geojson", ["x"]) as tiles:
            for i in range(30):
                tiles.add(f"s/{i % 3}", (i, 0), (1, 1), 0, {"m": 0.5})
                assert held > 1 or not any(tiles._held.values())
        assert sorted(p.name for p in folder.iterdir()) == [f"a-s%2F{i}.geojson" for i in range(3)]
        for i in range(3):
            corners = [f["geometry"]["coordinates"][0][0][0] for f in _read(folder / f"a-s%2F{i}.geojson")]
            assert corners == list(range(i, 30, 3))


def test_nothing_to_write_is_an_empty_collection_and_an_error_leaves_nothing(tmp_path: Path) -> None:
    with ScoredTiles(tmp_path / "empty.geojson", ["x"]):
        pass
    assert _read(tmp_path / "empty.geojson") == []

    def broken() -> None:
        with ScoredTiles(tmp_path / "broken.geojson", ["x"]) as tiles:
            tiles.add("s", (0, 0), (1, 1), 0, {})
            tiles._write()
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert [p.name for p in tmp_path.iterdir()] == ["empty.geojson"]
    with (
        pytest.raises(WorkError, match=r"gone/a\.geojson: cannot be written \(No such file"),
        ScoredTiles(tmp_path / "gone/a.geojson", ["x"]) as tiles,
    ):
        tiles.add("s", (0, 0), (1, 1), 0, {})
