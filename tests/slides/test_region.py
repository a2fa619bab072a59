"""The pixels of patches."""

import numpy as np
import pyarrow.compute as pc
import pytest

from raysweep.patches.decode import decode
from raysweep.randomness import stable_hash
from raysweep.slides.grid import lay_grid
from raysweep.slides.region import read_region
from raysweep.slides.slide import Slide
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.survey import Cells

from .slidemaker import ramp, write_slide

WIDTH, HEIGHT = 1024, 768


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    path = write_slide(tmp_path_factory.mktemp("slides") / "ramp.svs", ramp(WIDTH, HEIGHT), mpp=0.5, downsamples=(4,))
    with Slide(path) as slide:
        yield slide


def cells_of(pairs) -> Cells:
    columns, rows = np.array(pairs).T
    return Cells(columns, rows, np.linspace(0, 1, len(pairs), dtype=np.float32))


def rows_of(slide, pairs, *, um, px, seed=0):
    spec = PatchSetSpec(slides="x", um=um, px=px, quality=95)
    grid = lay_grid(spec, slide.mpp_xy, slide.level_sizes, slide.downsamples)
    return grid, read_region(slide, "ramp", cells_of(pairs), grid, spec, seed)


@pytest.mark.parametrize(
    ("um", "px", "level"), [(32, 64, 0), (47.3, 64, 0), (66.1, 32, 1), (128, 64, 1), (31.5, 64, 0)]
)
def test_a_patch_shows_its_own_place_on_the_slide(slide, um, px, level):
    """Red and green tell the place; a patch that were off by one level-0 pixel would differ by 0.25 or 0.33."""
    pairs = [(c, r) for c in range(int(WIDTH * 0.5 / um)) for r in range(int(HEIGHT * 0.5 / um))]
    grid, rows = rows_of(slide, pairs, um=um, px=px)
    assert grid.level == level
    assert rows.num_rows == len(pairs)
    errors = []
    for row in rows.to_pylist():
        patch = decode(row["image"]).astype(float)
        assert patch.shape == (px, px, 3)
        edge = um / 0.5
        expected = [255 * (row[axis] + edge / 2 - 0.5) / (size - 1) for axis, size in (("x", WIDTH), ("y", HEIGHT))]
        errors.append(patch.mean(axis=(0, 1))[:2] - expected)
    assert np.abs(errors).max() < 0.8
    assert np.abs(np.mean(errors, axis=0)).max() < 0.25


def test_origins_keys_and_order(slide):
    _, rows = rows_of(slide, [(0, 0), (3, 2), (7, 1), (2, 9)], um=20.1, px=32, seed=5)
    found = {(x, y) for x, y in zip(rows["x"].to_pylist(), rows["y"].to_pylist(), strict=True)}
    assert found == {(0, 0), (121, 80), (281, 40), (80, 362)}  # 40.2 px apart, each rounded once
    for row in rows.to_pylist():
        assert row["key"] == stable_hash("ramp", row["x"], row["y"], 5)
    assert pc.sort_indices(rows["key"]).to_pylist() == [0, 1, 2, 3]
    tissue = {(r["x"], r["y"]): r["tissue"] for r in rows.to_pylist()}
    assert tissue[(0, 0)] == 0
    assert tissue[(80, 362)] == 1


def test_scattered_cells_are_read_alone_and_dense_ones_together(slide, monkeypatch):
    read, boxes = slide.read, []
    monkeypatch.setattr(slide, "read", lambda *box: boxes.append(box) or read(*box))
    together = [(c, r) for c in range(4) for r in range(4)]
    _, dense = rows_of(slide, together, um=32, px=64)
    assert [box[3:] for box in boxes] == [(256, 256)]
    boxes.clear()
    _, sparse = rows_of(slide, [(0, 0), (3, 3)], um=32, px=64)
    assert [box[3:] for box in boxes] == [(64, 64)] * 2
    images = {(r["x"], r["y"]): r["image"] for r in dense.to_pylist()}
    for row in sparse.to_pylist():
        assert images[row["x"], row["y"]] == row["image"]
