"""What lies on tissue and is none: it is found, and clean tissue of any stain is left alone."""

import numpy as np
import pytest

from raysweep.slides.slide import Slide
from raysweep.slides.tissue.find import find_tissue
from raysweep.slides.tissue.spec import TissueSpec
from raysweep.slides.tissue.stains import STAINS

from ..slidemaker import glass, slide_with_tissue
from .pictures import RECOLOURED, STAIN_OF, line, recolour, with_bubble, with_fold, with_ink

_INKS = {
    "black": (25, 25, 28),
    "blue": (30, 70, 170),
    "dark blue": (20, 20, 120),
    "green": (20, 120, 70),
    "light green": (60, 170, 90),
    "red": (200, 30, 35),
    "dark red": (160, 10, 20),
}
_STROKE = [(0.05, 0.9), (0.35, 0.55), (0.95, 0.25)]

_KINDS = ["pen", "fold", "bubble", "edge"]


def _find(picture, um, stain="he", **spec):
    return find_tissue(picture, (um, um), TissueSpec(**{"exclude": _KINDS, **spec}), stain)


def _share(part, whole):
    return part.sum() / whole.sum()


@pytest.mark.parametrize("ink", _INKS)
@pytest.mark.parametrize("um", [4.0, 16.0, 40.0])
def test_pen_marks_on_glass(ink, um):
    picture = glass(300, 200)
    stroke = line(picture.shape, _STROKE, 480 / um)
    found = _find(with_ink(picture, stroke, _INKS[ink]), um)
    assert _share(found.mask & stroke, stroke) < 0.02
    assert found.mask.mean() < 0.02  # nor anything else, such as the rim of the stroke
    everywhere = _find(with_ink(picture, stroke, _INKS[ink]), um, method="all")
    assert _share(everywhere.excluded["pen"] & stroke, stroke) > 0.97
    assert everywhere.excluded["pen"].sum() < 1.6 * stroke.sum()


@pytest.mark.parametrize("slide", ["skin", "frozen"])
@pytest.mark.parametrize("ink", _INKS)
def test_pen_marks_on_real_tissue(thumbnails, slide, ink):
    picture, (um, _) = thumbnails[slide]
    stroke = line(picture.shape, _STROKE, 300 / um)
    found = _find(with_ink(picture, stroke, _INKS[ink]), um, exclude=["pen"])
    clean = _find(picture, um, exclude=["pen"])
    assert _share(found.mask & stroke, stroke) < 0.12
    away = ~line(picture.shape, _STROKE, 460 / um)
    assert _share(found.mask & away, clean.mask & away) > 0.97  # what is beside the stroke is as before


def test_thin_lines_are_no_pen_marks():
    picture = glass(400, 300)
    assert not _find(with_ink(picture, line(picture.shape, _STROKE, 5), _INKS["green"]), 8.0).excluded["pen"].any()


@pytest.mark.parametrize(("stain", "colours"), [(name, stain.pens) for name, stain in STAINS.items()])
def test_only_pens_that_the_stain_cannot_look_like(stain, colours):
    picture = glass(300, 200)
    stroke = line(picture.shape, _STROKE, 30)
    for ink in ("black", "blue", "green", "red"):
        pen = _find(with_ink(picture, stroke, _INKS[ink]), 16.0, stain, method="all").excluded["pen"]
        assert pen.any() == (ink in colours)


def test_ink_has_no_say_in_the_threshold_of_tissue():
    picture = np.full((200, 200, 3), (240, 232, 226), np.uint8)
    picture[120:180, 20:180] = (
        232,
        214,
        206,
    )  # saturation 0.11, under tinted glass' and ink's threshold of 0.10 and up
    inked = with_ink(picture, line(picture.shape, [(0, 0.2), (1, 0.2)], 60), _INKS["blue"])
    assert _find(inked, 8.0).mask[125:175, 25:175].all()
    assert not _find(inked, 8.0).mask[:110].any()


@pytest.mark.parametrize("width_um", [80, 150])
def test_folds_in_real_tissue(thumbnails, width_um):
    picture, (um, _) = thumbnails["frozen"]
    clean = _find(picture, um).excluded["fold"]
    where = line(picture.shape, [(0.25, 0.3), (0.42, 0.47), (0.67, 0.83)], width_um / um)
    found = _find(with_fold(picture, where), um)
    tissue = found.mask | found.excluded["fold"]
    assert _share(found.excluded["fold"] & where, where & tissue) > 0.3  # where pale tissue is folded it stays in
    assert (found.excluded["fold"] & ~where & ~clean).sum() < 0.003 * tissue.sum()


def test_the_folds_that_a_real_frozen_section_has(thumbnails):
    picture, (um, _) = thumbnails["frozen"]
    fold = _find(picture, um).excluded["fold"]
    height, width = fold.shape
    for x, y in ((0.026, 0.545), (0.753, 0.015), (0.655, 0.945)):  # seen by eye: left, upper and lower border
        near = fold[max(0, int((y - 0.03) * height)) : int((y + 0.03) * height), :][
            :, max(0, int((x - 0.03) * width)) : int((x + 0.03) * width)
        ]
        assert near.any(), (x, y)
    assert 0.002 < fold.mean() < 0.015


@pytest.mark.parametrize("at", [(0.33, 0.47), (0.87, 0.82), (0.14, 0.17)])  # tissue, its border, glass
def test_bubbles(thumbnails, at):
    picture, (um, _) = thumbnails["frozen"]
    picture, inside = with_bubble(picture, at, 180, um)
    bubble = _find(picture, um, method="all").excluded["bubble"]
    assert _share(bubble & inside, inside) > 0.8
    assert (bubble & ~inside).sum() < 0.3 * inside.sum()
    assert _share(_find(picture, um).mask & inside, inside) < 0.12


def test_an_open_rim_and_a_square_are_no_bubbles():
    picture, _ = with_bubble(glass(300, 300), (0.5, 0.5), 800, 8.0)
    assert _find(picture, 8.0, method="all").excluded["bubble"].sum() > 100**2 * 3.14 * 0.9
    broken = picture.copy()
    broken[:, 145:155] = 243
    square = glass(300, 300)
    square[50:250, 50:250] = 110
    square[55:245, 55:245] = 243
    for other in (broken, square):
        assert not _find(other, 8.0, method="all").excluded["bubble"].any()


@pytest.mark.parametrize("points", [[(0, 0.2), (1, 0.22)], [(0.3, 0), (0.28, 1)]])
def test_edges_of_the_cover_slip(points):
    picture = slide_with_tissue(600, 500, (230, 160, 500, 450))
    edge = line(picture.shape, points, 4)
    picture[edge] = (150, 150, 152)
    found = _find(picture, 8.0, method="all").excluded["edge"]
    assert _share(found & edge, edge) > 0.95
    assert found.mean() < 4 * edge.mean()


def test_short_and_bent_lines_are_no_edges():
    for points in ([(0.2, 0.2), (0.7, 0.2)], [(0, 0.5), (0.5, 0.3), (1, 0.5)]):
        picture = glass(600, 500)
        picture[line(picture.shape, points, 4)] = (150, 150, 152)
        assert not _find(picture, 8.0, method="all").excluded["edge"].any()


@pytest.mark.parametrize("px", [250, 400, 700, 1200, 2967])
def test_the_horn_of_real_skin_is_no_fold_at_any_scale(test_data, px):
    with Slide(test_data / "wsi" / "CMU-1-Small-Region.svs") as slide:
        picture = slide.thumbnail(px)
        found = _find(picture, slide.mpp * slide.size[0] / picture.shape[1])
    assert not any(part.any() for part in found.excluded.values())


@pytest.mark.parametrize("slide", ["skin", "frozen", "glands"])
def test_clean_tissue_is_left_alone(thumbnails, slide):
    picture, (um, _) = thumbnails[slide]
    found = _find(picture, um)
    tissue = found.mask.sum() + sum(part.sum() for part in found.excluded.values())
    assert not (found.excluded["bubble"] | found.excluded["edge"]).any()
    assert found.excluded["pen"].sum() < 0.001 * tissue
    assert found.excluded["fold"].sum() < 0.015 * tissue  # the frozen section has some


@pytest.mark.parametrize("name", RECOLOURED)
@pytest.mark.parametrize("slide", ["skin", "frozen", "glands"])
def test_clean_tissue_of_other_stains_is_left_alone(thumbnails, slide, name):
    picture, (um, _) = thumbnails[slide]
    found = _find(recolour(picture, name), um, STAIN_OF[name])
    assert set(found.excluded) == {"pen", "bubble", "edge"}
    for part in found.excluded.values():
        assert part.sum() < 0.002 * found.mask.sum()


@pytest.mark.parametrize("name", RECOLOURED)
def test_dense_tissue_of_other_stains_is_left_alone(thumbnails, name):
    picture, (um, _) = thumbnails["frozen"]
    dense = (recolour(picture, name).astype(float) ** 1.7 / 245**0.7).round().astype(np.uint8)
    assert not _find(dense, um, STAIN_OF[name]).excluded["pen"].any()


@pytest.mark.parametrize(
    ("stain", "colour"),
    [
        ("ihc", (205, 50, 40)),  # AEC
        ("cytology", (50, 45, 190)),  # Diff-Quik
        ("cytology", (70, 150, 120)),  # Papanicolaou
        ("trichrome", (60, 110, 190)),  # collagen in aniline blue
        ("trichrome", (70, 150, 120)),  # collagen in light green
    ],
)
def test_what_is_ink_in_one_stain_is_tissue_in_another(stain, colour):
    picture = glass(200, 200)
    picture[50:150, 50:150] = colour
    assert _find(picture, 8.0, "he").excluded["pen"][50:150, 50:150].all()
    found = _find(picture, 8.0, stain)
    assert not found.excluded["pen"].any()
    assert found.mask[50:150, 50:150].all()
