"""Patches that are a slide's own JPEG tiles."""

import numpy as np
import pytest

from raysweep.errors import WorkError
from raysweep.slides.cut import read_cut
from raysweep.slides.grid import lay_grid
from raysweep.slides.native import native_tiles
from raysweep.slides.places import Places
from raysweep.slides.slide import Slide
from raysweep.slides.spec import PatchSetSpec

from .slidemaker import glass, slide_with_tissue, write_slide


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """Four tiles across and two down: the left half tissue, the right half glass, one tile in the corner dark."""
    pixels = slide_with_tissue(512, 256, (0, 0, 256, 256))
    pixels[:128, :128] = 20
    path = write_slide(tmp_path_factory.mktemp("slides") / "a.svs", pixels, tile=128, compression="jpeg")
    with Slide(path) as slide:
        yield slide


def copied(slide, **tissue):
    spec = PatchSetSpec(slides="x", mpp="native", px=128, tissue=tissue)
    grid = lay_grid(spec, slide.mpp_xy, slide.level_sizes, slide.downsamples)
    return read_cut(slide, "a", grid.all(), grid, spec, 0, copy=True)


def tiles_of(slide) -> dict[tuple[int, int], bytes]:
    return {(x * 128, y * 128): slide.reader.tile_jpeg(0, y * 4 + x) for x in range(4) for y in range(2)}


def stored(cut) -> dict[tuple[int, int], bytes]:
    rows = cut.rows
    return dict(
        zip(zip(rows["x"].to_pylist(), rows["y"].to_pylist(), strict=True), rows["image"].to_pylist(), strict=True)
    )


@pytest.mark.parametrize("tissue", [{}, {"reject": None}, {"reject": []}, {"method": "all"}])
def test_tiles_are_stored_undecoded(half, monkeypatch, tissue):
    monkeypatch.setattr(half.reader, "crops", None)
    cut = copied(half, **tissue)
    assert cut.rejected == {}
    assert stored(cut) == tiles_of(half)


def test_tiles_are_judged_where_the_study_says_what_to_reject(half):
    tiles = tiles_of(half)
    cut = copied(half, reject=["blank", "dark"])
    assert cut.rejected == {"blank": 4, "dark": 1}
    assert stored(cut) == {at: tiles[at] for at in ((0, 128), (128, 0), (128, 128))}
    assert copied(half, reject=["dark"]).rejected == {"dark": 1}
    assert copied(half, method="all", reject=["blank"]).rejected["blank"] >= 4


def test_glass_alone_gives_nothing(tmp_path):
    with Slide(write_slide(tmp_path / "a.svs", glass(256, 128), tile=128, compression="jpeg", downsamples=())) as slide:
        cut = copied(slide, reject=["blank", "blurred"])
    assert (cut.rows.num_rows, cut.rejected) == (0, {"blank": 2})


def places(*corners: tuple[int, int]) -> Places:
    corner = np.array(corners)
    return Places.of(corner, np.hstack([corner, corner + 128]))


def test_only_whole_tiles_of_the_right_size_can_be_patches(half):
    assert list(native_tiles(half, places((128, 0), (0, 128)), 128)) == [half.reader.tile_jpeg(0, n) for n in (1, 4)]
    for corner in ((64, 0), (0, 1), (129, 128)):
        with pytest.raises(WorkError, match=f"^no JPEG tile begins at x {corner[0]}, y {corner[1]} of the slide$"):
            list(native_tiles(half, places((0, 0), corner), 128))
    with pytest.raises(WorkError, match=r"^the slide's JPEG tiles are 128 x 128 pixels and patches 64 x 64$"):
        list(native_tiles(half, places((0, 0)), 64))


def test_tiles_of_another_shape_or_none_are_no_patches(tmp_path):
    from .readers.test_jpeg_tiff import jpeg_slide
    from .slidemaker import tissue

    with (
        Slide(jpeg_slide(tmp_path / "a.svs", tissue(256, 256), tile=(128, 64))) as slide,
        pytest.raises(WorkError, match=r"^the slide's JPEG tiles are 64 x 128 pixels and patches 64 x 64$"),
    ):
        list(native_tiles(slide, places((0, 0)), 64))
    with (
        Slide(write_slide(tmp_path / "b.svs", tissue(256, 256))) as slide,
        pytest.raises(WorkError, match=r"^the slide has no JPEG tiles$"),
    ):
        list(native_tiles(slide, places((0, 0)), 64))
