"""Labels of places: every source by hand-made cases."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import LineString, Point

from raysweep.errors import WorkError
from raysweep.slides.annotations.formats import read_annotations
from raysweep.slides.annotations.shapes import Shape
from raysweep.slides.labels.choose import Choice, choose
from raysweep.slides.labels.classes import classes_of
from raysweep.slides.labels.labelled import Labelled
from raysweep.slides.labels.spec import LabelSpec
from raysweep.slides.readers.mask_image import MaskSlide

from .makers import grid_of, labelled, square, write_camelyon, write_mask

SIZE = (400, 300)
GRID = grid_of(SIZE, 100)  # places 0 1 2 3 / 4 5 6 7 / 8 9 10 11


def chosen(keys: dict, slide: Labelled, grid=GRID, seed: int = 0) -> tuple[Choice, list[str]]:
    spec = LabelSpec(**keys)
    classes = classes_of(spec, [slide.label] if slide.label else [])
    return choose(spec, slide, grid, grid.all(), classes=classes, seed=seed), classes


def names_of(choice: Choice, classes: list[str]) -> dict[tuple[int, int], str]:
    """Corner of each place -> class."""
    corners = map(tuple, choice.places.corner.tolist())
    return dict(zip(corners, (classes[i] for i in choice.places.label), strict=True))


def test_a_slide_labels_all_its_places_and_many_names_are_one_class():
    keys = {"classes": {"colon": ["colon", "rectum"], "brain": ["brain"]}, "ignore": ["skin"]}
    choice, classes = chosen(keys, labelled(label="rectum"))
    assert (len(choice.places), choice.dropped) == (12, {})
    assert {classes[i] for i in choice.places.label} == {"colon"}
    choice, _ = chosen(keys, labelled(label="skin"))
    assert (len(choice.places), choice.dropped) == (0, {"ignored label": 12})
    choice, _ = chosen(keys, labelled())
    assert (choice.places.label == -1).all()
    with pytest.raises(WorkError, match="the slide's label is lung, which no class names"):
        choose(LabelSpec(**keys), labelled(label="lung"), GRID, GRID.all(), classes=["colon", "brain"], seed=0)


CAMELYON = {
    "source": "regions",
    "rule": "area >= 0.1",
    "classes": {"tumor": ["_0", "_1", "Tumor"]},
    "subtract": ["_2", "Exclusion"],
    "background": "normal",
}


@pytest.mark.parametrize("test", [False, True])
def test_camelyon_regions(tmp_path, test):
    # Place 0 is tumour to 10 %, place 1 to 9 %, place 5 to 100 % of which 91 % are cut out, place 6 to 80 %.
    tumors = [square(0, 0, 100, 10), square(100, 0, 200, 9), square(100, 100, 200, 200), square(200, 120, 300, 200)]
    holes = [square(100, 100, 200, 191)]
    shapes = read_annotations(write_camelyon(tmp_path / "a.xml", tumors, holes, test=test))
    choice, classes = chosen(CAMELYON, labelled(shapes=shapes))
    assert classes == ["normal", "tumor"]
    found = names_of(choice, classes)
    assert {corner for corner, name in found.items() if name == "tumor"} == {(0, 0), (200, 100)}
    assert (len(found), choice.dropped) == (12, {})
    choice, classes = chosen(CAMELYON | {"background": None}, labelled(shapes=shapes))
    assert names_of(choice, classes) == {(0, 0): "tumor", (200, 100): "tumor"}
    assert choice.dropped == {"no class": 10}


@pytest.mark.parametrize(("kind", "n", "dropped"), [("negative", 12, {}), ("positive", 2, None), ("", 2, None)])
def test_background_only_from_some_slides(tmp_path, kind, n, dropped):
    keys = CAMELYON | {"background_from": {"kind": ["negative", "normal"], "stage": "pN0"}}
    tumors = [square(0, 0, 100, 100), square(100, 0, 200, 100)]
    shapes = read_annotations(write_camelyon(tmp_path / "a.xml", tumors))
    choice, _ = chosen(keys, labelled(shapes=shapes, columns={"kind": kind, "stage": "pN0"}))
    assert len(choice.places) == n
    assert choice.dropped == (dropped if dropped is not None else {"background of a slide that gives none": 10})


def test_rules_center_and_any():
    shapes = [Shape("a", shapely.box(0, 0, 49, 100)), Shape("b", shapely.box(150, 50, 201, 60))]
    keys = {"source": "regions", "classes": {"a": ["a"], "b": ["b"]}}
    choice, classes = chosen(keys | {"rule": "center"}, labelled(shapes=shapes))
    assert names_of(choice, classes) == {(100, 0): "b"}  # its centre is a corner of b
    choice, classes = chosen(keys | {"rule": "any"}, labelled(shapes=shapes))
    assert names_of(choice, classes) == {(0, 0): "a", (100, 0): "b", (200, 0): "b"}


def test_an_area_that_ends_at_a_patch_does_not_touch_it():
    keys = {"source": "regions", "rule": "any", "classes": {"a": ["a"]}}
    choice, classes = chosen(keys, labelled(shapes=[Shape("a", shapely.box(100, 100, 200, 200))]))
    assert names_of(choice, classes) == {(100, 100): "a"}


def test_the_class_that_covers_most_wins_then_the_first_and_background_last():
    shapes = [
        Shape("few", shapely.box(0, 0, 30, 100)),
        Shape("many", shapely.box(30, 0, 90, 100)),
        Shape("few", shapely.box(100, 0, 150, 100)),
        Shape("many", shapely.box(150, 0, 200, 100)),
        Shape("tissue", shapely.box(0, 0, 400, 300)),
    ]
    keys = {
        "source": "regions",
        "rule": "area >= 0.2",
        "classes": {"rest": ["tissue"], "many": ["many"], "few": ["few"]},
    }
    choice, classes = chosen(keys | {"background": "rest"}, labelled(shapes=shapes))
    found = names_of(choice, classes)
    assert classes == ["rest", "many", "few"]
    assert (found[0, 0], found[100, 0], found[200, 0]) == ("many", "many", "rest")
    choice, classes = chosen(keys, labelled(shapes=shapes))
    assert set(names_of(choice, classes).values()) == {"rest"}


def test_areas_drawn_twice_count_once():
    shapes = [Shape("a", shapely.box(0, 0, 30, 100))] * 2
    keys = {"source": "regions", "rule": "area >= 0.5", "classes": {"a": ["a"]}, "background": "b"}
    choice, classes = chosen(keys, labelled(shapes=shapes))
    assert set(names_of(choice, classes).values()) == {"b"}


def test_points_label_the_patch_they_are_in():
    """Dense detections: a tile is positive where it holds the target."""
    shapes = [Shape("inflammatory", Point(100, 50)), Shape("other", Point(350, 250))]
    keys = {
        "source": "regions",
        "rule": "any",
        "classes": {"yes": ["inflammatory"]},
        "ignore": ["other"],
        "background": "no",
    }
    choice, classes = chosen(keys, labelled(shapes=shapes))
    assert [corner for corner, name in names_of(choice, classes).items() if name == "yes"] == [(100, 0)]
    with pytest.raises(WorkError, match="yes is a point; points label patches by `rule: any` or `source: points`"):
        chosen(keys | {"rule": "center"}, labelled(shapes=shapes))


def test_what_has_no_area_is_counted():
    shapes = [Shape("_0", LineString([(0, 0), (9, 9)])), Shape("_0", LineString())]
    choice, _ = chosen(CAMELYON, labelled(shapes=shapes))
    assert choice.dropped == {"annotations without area": 2}


@pytest.mark.parametrize("source", ["regions", "points"])
def test_an_annotation_class_that_no_rule_names_fails_the_slide(source):
    keys = {"source": source, "classes": {"a": ["a"]}, "ignore": ["c"]} | (
        {"rule": "any"} if source == "regions" else {}
    )
    shapes = [Shape(name, shapely.box(0, 0, 9, 9)) for name in ("a", "c", "Necrosis")]
    with pytest.raises(WorkError, match=r"annotations x/a\.xml: no rule names the class Necrosis"):
        chosen(keys, labelled(shapes=shapes, columns={"annotations": "x/a.xml"}))


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        (CAMELYON, "annotations"),
        ({"source": "points", "classes": {"a": ["a"]}, "background": "b"}, "annotations"),
        ({"source": "mask", "rule": "any", "values": {"a": [1]}, "background": "b"}, "mask"),
        ({"store_mask": True, "values": {"a": [1]}}, "mask"),
    ],
)
def test_slides_without_annotations_or_mask(keys, what):
    with pytest.raises(WorkError, match=f"names no {what} for this slide"):
        chosen(keys, labelled())
    choice, _ = chosen(keys | {"absent": "skip"}, labelled())
    assert (len(choice.places), choice.dropped) == (0, {f"no {what}": 12})
    if keys.get("background"):
        choice, classes = chosen(keys | {"absent": "background"}, labelled())
        assert set(names_of(choice, classes).values()) == {keys["background"]}


def test_no_more_than_so_many_of_a_class(tmp_path):
    shapes = [Shape("_0", shapely.box(0, 0, 400, 100))]
    grid = grid_of(SIZE, 10)
    keys = CAMELYON | {"per_class": 50}
    choice, _ = chosen(keys, labelled(shapes=shapes), grid)
    assert np.bincount(choice.places.label).tolist() == [50, 50]
    assert choice.dropped == {"class cap": 1100}
    again, _ = chosen(keys, labelled(shapes=shapes), grid)
    np.testing.assert_array_equal(again.places.corner, choice.places.corner)
    for other in (
        chosen(keys, labelled(shapes=shapes), grid, 1)[0],
        chosen(keys, labelled("b", shapes=shapes), grid)[0],
    ):
        assert len({*map(tuple, choice.places.corner.tolist())} & {*map(tuple, other.places.corner.tolist())}) < 50
    # The order of the places does not matter.
    places, classes = grid.all(), ["normal", "tumor"]
    mixed = places.pick(np.random.default_rng(0).permutation(len(places)))
    other = choose(LabelSpec(**keys), labelled(shapes=shapes), grid, mixed, classes=classes, seed=0)
    assert {*map(tuple, choice.places.corner.tolist())} == {*map(tuple, other.places.corner.tolist())}


MITOSES = {
    "source": "points",
    "classes": {"mitosis": ["mitosis"], "other": ["non-mitosis"]},
    "background": "nothing",
    "samples": 10,
    "jitter": 0.25,
}


def test_objects_are_cut_with_jitter_and_negatives_touch_none():
    shapes = [Shape("mitosis", Point(120, 130)), Shape("non-mitosis", Point(250, 240)), Shape("mitosis", Point(25, 25))]
    grid = grid_of(SIZE, 60, stride=0.5)
    choice, classes = chosen(MITOSES, labelled(shapes=shapes), grid)
    assert classes == ["nothing", "mitosis", "other"]
    rects, label = choice.places.rects((1.0, 1.0)), choice.places.label
    # Patches of the object near the slide's corner are moved inside, some to the same place.
    assert (label == 2).sum() == 10
    assert (label == 1).sum() == 20 - choice.dropped["same place"]
    assert 0 < choice.dropped["same place"] < 10
    for shape, name in zip(shapes, ("mitosis", "other", "mitosis"), strict=True):
        holds = (rects[:, :2] <= (shape.geometry.x, shape.geometry.y)).all(axis=1) & (
            rects[:, 2:] >= (shape.geometry.x, shape.geometry.y)
        ).all(axis=1)
        assert {classes[i] for i in label[holds]} == {name}
    assert choice.dropped["on an object"] + (label == 0).sum() == len(grid.all())
    assert choice.dropped["on an object"] > 0
    shifts = choice.places.corner[label == 2] + 30 - (250, 240)
    assert np.abs(shifts).max() <= 16
    assert len(np.unique(shifts, axis=0)) > 5
    assert len(np.unique(choice.places.corner, axis=0)) == len(choice.places)


def test_crops_of_an_object_do_not_depend_on_the_others():
    shapes = [Shape("mitosis", Point(120, 130)), Shape("mitosis", Point(250, 200))]
    found = []
    for some in (shapes, shapes[::-1], shapes[:1]):
        choice, _ = chosen(MITOSES, labelled(shapes=some), grid_of(SIZE, 60))
        found.append({tuple(corner) for corner in choice.places.corner[choice.places.label == 1].tolist()})
    assert found[0] == found[1] > found[2]
    assert len(found[2]) == 10
    choice, _ = chosen(MITOSES, labelled(shapes=shapes), grid_of(SIZE, 60), seed=1)
    assert not found[2] & {*map(tuple, choice.places.corner.tolist())}


def test_an_object_drawn_twice_is_cut_once():
    shapes = [Shape("mitosis", Point(120, 130))] * 2
    choice, _ = chosen(MITOSES | {"background": None}, labelled(shapes=shapes), grid_of(SIZE, 60))
    assert len(choice.places) == 10
    assert choice.dropped["same place"] == 10


def test_a_slide_without_objects_is_all_background():
    choice, classes = chosen(MITOSES, labelled(shapes=[]))
    assert set(names_of(choice, classes).values()) == {"nothing"}
    assert len(choice.places) == 12


PANDA = {
    "source": "mask",
    "values_by": "provider",
    "values": {
        "radboud": {"background": 0, "benign": [1, 2], "cancer": [3, 4, 5]},
        "karolinska": {"background": 0, "benign": 1, "cancer": 2},
    },
    "background": "background",
}


def panda(tmp_path, values: np.ndarray, provider: str = "radboud") -> Labelled:
    mask = MaskSlide(write_mask(tmp_path / "m.tiff", values), SIZE)
    return labelled(mask=mask, columns={"provider": provider})


@pytest.mark.parametrize("scale", [1, 2, 5])
def test_mask_rules(tmp_path, scale):
    values = np.zeros((60, 80), np.uint8)  # 1/5 of the slide: a place is 20 x 20
    values[0:20, 0:2] = 4  # place 0: cancer 10 %
    values[0:20, 20:21] = 5  # place 1: cancer 5 %
    values[0:20, 22:30] = 1  # and benign 40 %
    values[5:15, 45:55] = 2  # place 2: benign 25 %, in the middle
    slide = panda(tmp_path, values.repeat(5 // scale, 0).repeat(5 // scale, 1) if scale < 5 else values)
    if scale == 2:
        slide = panda(tmp_path, values.repeat(5, 0).repeat(5, 1)[::2, ::2])
    expected = {
        "area >= 0.1": ["cancer", "benign", "benign"],
        "area >= 0.3": ["background", "benign", "background"],
        "any": ["cancer", "benign", "benign"],
        "center": ["background", "background", "benign"],
    }
    for rule, names in expected.items():
        choice, classes = chosen(PANDA | {"rule": rule}, slide)
        found = names_of(choice, classes)
        assert classes == ["background", "benign", "cancer"]
        assert [found[x, 0] for x in (0, 100, 200, 300)] == [*names, "background"]
        assert (len(found), choice.dropped) == (12, {})


def test_the_same_integers_mean_other_things_for_other_providers(tmp_path):
    values = np.full((300, 400), 2, np.uint8)
    for provider, name in (("radboud", "benign"), ("karolinska", "cancer")):
        choice, classes = chosen(PANDA | {"rule": "any"}, panda(tmp_path, values, provider))
        assert set(names_of(choice, classes).values()) == {name}
    with pytest.raises(WorkError, match=r"the column provider is elsewhere, which labels.values does not name"):
        chosen(PANDA | {"rule": "any"}, panda(tmp_path, values, "elsewhere"))


def test_a_mask_value_that_no_rule_names_fails_the_slide(tmp_path):
    values = np.zeros((300, 400), np.uint8)
    values[299, 399] = 3
    with pytest.raises(WorkError, match=r"mask .*m\.tiff: no rule names the value 3"):
        chosen(PANDA | {"rule": "any"}, panda(tmp_path, values, "karolinska"))


def test_ignored_values_are_no_class(tmp_path):
    values = np.zeros((300, 400), np.uint8)
    values[:100, :100] = 1
    keys = {"source": "mask", "rule": "any", "values": {"ignore": [0], "a": [1]}}
    choice, classes = chosen(keys, panda(tmp_path, values))
    assert (classes, names_of(choice, classes), choice.dropped) == (["a"], {(0, 0): "a"}, {"no class": 11})


@settings(max_examples=12)  # each writes and reads a mask slide
@given(st.integers(0, 2**32 - 1), st.integers(9, 130), st.sampled_from([1, 2, 4]))
def test_mask_fractions_are_those_of_the_pixels(tmp_path_factory, seed, px, scale):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 3, (300 // scale, 400 // scale)).astype(np.uint8)
    slide = panda(tmp_path_factory.mktemp("m"), values, "karolinska")
    grid = grid_of(SIZE, px * scale)
    if not len(grid.all()):
        return
    choice, classes = chosen(PANDA | {"rule": "area >= 0.34"}, slide, grid)
    for (x, y), name in names_of(choice, classes).items():
        part = values[y // scale :, x // scale :][:px, :px]
        benign, cancer = (part == 1).mean(), (part == 2).mean()
        expected = ("cancer" if cancer > benign else "benign") if max(benign, cancer) >= 0.34 else "background"
        assert name == expected
