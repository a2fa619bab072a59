"""Which patches a slide gives, and in which cuts they are read."""

import pytest

from raysweep.randomness import stable_hash
from raysweep.slides.sidecars import Sidecars
from raysweep.slides.slide import Slide
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.survey import survey
from raysweep.slides.table.entries import SlideEntry

from .labels.makers import square, write_asap
from .slidemaker import glass, slide_with_tissue, tissue, write_slide


def spec(**keys) -> PatchSetSpec:
    return PatchSetSpec(**{"slides": "*.svs", "um": 32, "px": 64, **keys})


def look(path, seed: int = 0, name: str = "a", **keys):
    with Slide(path) as slide, Sidecars.of(SlideEntry(name, str(path)), 0) as sidecars:
        return survey(slide, sidecars, spec(**keys), (), seed, cut_mpx=64)


def places(found) -> set[tuple[int, int]]:
    """Columns and rows of the kept squares."""
    return {
        (round(x / found.grid.step[0]), round(y / found.grid.step[1]))
        for cut in found.cuts
        for x, y in cut.corner.tolist()
    }


@pytest.fixture(scope="module")
def boxed(tmp_path_factory):
    """Tissue from (96, 64) to (320, 256): at 0.5 um per pixel, cells of 64 px."""
    pixels = slide_with_tissue(512, 384, (96, 64, 320, 256))
    return write_slide(tmp_path_factory.mktemp("slides") / "a.svs", pixels)


def test_patches_are_kept_by_their_tissue(boxed):
    inner = {(c, r) for c in (2, 3, 4) for r in (1, 2, 3)}
    assert places(look(boxed, min_tissue=0.9)) == inner
    half = look(boxed, min_tissue=0.4)
    assert places(half) == inner | {(1, r) for r in (1, 2, 3)}  # columns at x = 64: half glass
    assert half.n_tissue == 12
    tissues = {round(float(t), 1) for cells in half.cuts for t in cells.tissue}
    assert tissues == {0.5, 1.0}
    assert half.tissue_area_um2 == pytest.approx(224 * 192 * 0.25, rel=0.06)
    assert len(places(look(boxed, min_tissue=0))) == 8 * 6


def test_a_grid_that_is_measured_in_parts_keeps_the_same(boxed, monkeypatch):
    (whole,) = look(boxed, min_tissue=0.4).cuts
    monkeypatch.setattr("raysweep.slides.survey._PLACES_AT_ONCE", 5)
    (parts,) = look(boxed, min_tissue=0.4).cuts
    assert parts.pack() == whole.pack()


def test_every_patch_counts_when_tissue_is_all(boxed, tmp_path):
    assert len(places(look(boxed, tissue="all"))) == 8 * 6
    assert len(places(look(write_slide(tmp_path / "g.svs", glass(128, 128)), tissue="all"))) == 4


def test_slides_that_give_nothing_say_why(boxed, tmp_path):
    bare = look(write_slide(tmp_path / "g.svs", glass(256, 256)))
    assert (bare.reason, bare.cuts, bare.n_tissue) == ("no tissue", [], 0)
    assert look(boxed, um=500, px=64).reason == "smaller than one patch"
    coarse = look(boxed, um=16, px=64)
    assert coarse.reason == "too coarse: the slide has 0.5 um per pixel and the patches need 0.25, " \
        "2 times enlarged (at most 1.05)"  # fmt: skip
    assert not coarse.cuts


def test_objects_by_their_boxes_need_no_square_of_the_grid(tmp_path):
    """Neither that one fits the slide nor that its pixels are fine enough."""
    path = write_slide(tmp_path / "a.svs", tissue(120, 90), mpp=2.0)
    boxes = [square(10, 10, 50, 50), square(60, 10, 80, 20)]
    annotations = write_asap(tmp_path / "a.xml", [("cell", box) for box in boxes])
    labels = {"source": "points", "classes": {"cell": ["cell"]}, "box": True}
    for um, px in ((500, 32), (32, 32)):
        with (
            Slide(path) as slide,
            Sidecars.of(SlideEntry("a", str(path), annotations=str(annotations)), 0) as sidecars,
        ):
            found = survey(slide, sidecars, spec(um=um, px=px, labels=labels), ["cell"], 0, cut_mpx=64)
            [cut] = found.cuts
            assert cut.box.tolist() == [[10, 10, 50, 50]]
            assert found.dropped["objects smaller than 30.48 pixels"] == 1
            larger = survey(slide, sidecars, spec(um=um, px=64, labels=labels), ["cell"], 0, cut_mpx=64)
            assert "2 objects smaller than 60.95 pixels" in larger.reason


def test_the_cap_takes_the_lowest_hashes(boxed):
    everything = look(boxed, min_tissue=0.4)
    capped = look(boxed, min_tissue=0.4, per_slide=5, seed=3)
    hashes = sorted((stable_hash(3, "cap", "a", c * 64, r * 64), c, r) for c, r in places(everything))
    assert places(capped) == {(c, r) for _, c, r in hashes[:5]}
    assert capped.n_tissue == 12
    assert places(look(boxed, min_tissue=0.4, per_slide=5, seed=4)) != places(capped)
    assert places(look(boxed, min_tissue=0.4, per_slide=5, seed=3, name="b")) != places(capped)
    assert places(look(boxed, min_tissue=0.4, per_slide=12)) == places(everything)


def test_a_larger_cap_keeps_what_a_smaller_one_has(boxed):
    few, more = (places(look(boxed, min_tissue=0.4, per_slide=n)) for n in (4, 9))
    assert few < more


def test_the_thumbnail_is_bounded(tmp_path, monkeypatch):
    path = write_slide(tmp_path / "a.svs", tissue(1024, 512))
    monkeypatch.setattr("raysweep.slides.survey._THUMBNAIL_PX", (64, 128))
    assert look(path, um=8, px=16).thumbnail.shape == (64, 128, 3)
    assert look(path, um=128, px=256).thumbnail.shape == (32, 64, 3)
