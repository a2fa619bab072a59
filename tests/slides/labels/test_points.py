"""Patches around annotated objects: which places, by hand-made cases."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import Point

from raysweep.errors import WorkError
from raysweep.slides.annotations.shapes import Shape
from raysweep.slides.grid import Grid, lay_grid
from raysweep.slides.labels.choose import Choice, choose
from raysweep.slides.labels.classes import classes_of
from raysweep.slides.labels.spec import LabelSpec
from raysweep.slides.spec import PatchSetSpec

from .makers import grid_of, labelled

SIZE = (400, 300)


def chosen(keys: dict, shapes: list[Shape], grid: Grid, seed: int = 0) -> tuple[Choice, list[str]]:
    spec = LabelSpec(source="points", **keys)
    classes = classes_of(spec, [])
    return choose(spec, labelled(shapes=shapes), grid, grid.all(), classes=classes, seed=seed), classes


# --- near the slide's edge --------------------------------------------------------------------------------------------


def test_patches_around_objects_near_the_edge_are_moved_inside():
    """A frame of MITOS-ATYPIA, as Mormont crops it."""
    size, edge = (1539, 1376), 323
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 1, (200, 2)) * size
    keys = {"classes": {"mitosis": ["m"]}, "samples": 10, "jitter": 0.25}
    choice, _ = chosen(keys, [Shape("m", Point(*point)) for point in points], grid_of(size, edge))
    left, top, right, bottom = choice.places.box.T
    assert len(choice.places) > 0.9 * 2000
    assert len(choice.places) + choice.dropped["same place"] == 2000  # those in a corner of the frame
    assert "outside the slide" not in choice.dropped
    assert (right - left == edge).all()
    assert (bottom - top == edge).all()
    assert min(left.min(), top.min()) == 0
    assert (right.max(), bottom.max()) == size


@given(st.floats(-50, 450), st.floats(-50, 350), st.integers(20, 350))
def test_an_object_is_on_its_patches_or_left_out(x, y, px):
    grid = grid_of(SIZE, px)
    keys = {"classes": {"mitosis": ["m"]}, "samples": 5, "jitter": 0.4}
    choice, _ = chosen(keys, [Shape("m", Point(x, y))], grid)
    around = choice.places
    for left, top, right, bottom in around.box.tolist():
        assert 0 <= left <= x + 0.5 <= right + 1 <= SIZE[0] + 1
        assert 0 <= top <= y + 0.5 <= bottom + 1 <= SIZE[1] + 1
    lost = choice.dropped.get("outside the slide", 0)
    assert len(around) + choice.dropped.get("same place", 0) + lost == 5
    assert lost == (0 if 0 <= x < 400 and 0 <= y < 300 and px <= 300 else 5)


def test_patches_are_moved_inside_the_level_that_is_read():
    """The level leaves out the slide's last pixels."""
    size, level = (1003, 802), (250, 200)
    grid = lay_grid(PatchSetSpec(slides="x", um=400, px=100), (1.0, 1.0), [size, level], [(1.0, 1.0), (4.0, 4.0)])
    assert grid.level == 1
    choice, _ = chosen({"classes": {"m": ["m"]}}, [Shape("m", Point(990, 795)), Shape("m", Point(5, 300))], grid)
    assert choice.places.box.tolist() == [[150, 100, 250, 200], [0, 25, 100, 125]]
    assert choice.places.corner.tolist() == [[600, 400], [0, 100]]


# --- what negatives touch ---------------------------------------------------------------------------------------------


def test_negatives_touch_no_annotation_of_whatever_class():
    keys = {"classes": {"mitosis": ["m"]}, "ignore": ["unsure"], "background": "nothing"}
    shapes = [
        Shape("m", Point(50, 50)),
        Shape("unsure", Point(150, 150)),
        Shape("unsure", shapely.box(390, 290, 395, 295)),
    ]
    choice, classes = chosen(keys, shapes, grid_of(SIZE, 100))
    found = dict(zip(map(tuple, choice.places.corner.tolist()), choice.places.label.tolist(), strict=True))
    assert {corner for corner, label in found.items() if classes[label] == "mitosis"} == {(0, 0)}
    assert (100, 100) not in found
    assert (300, 200) not in found
    assert choice.dropped == {"on an object": 3}
    assert len(found) == 12 - 3 + 1


# --- an object's own box ----------------------------------------------------------------------------------------------

BOXES = {"classes": {"cell": ["cell"]}, "box": True}


def cells(*boxes: tuple[float, float, float, float]) -> list[Shape]:
    return [Shape("cell", shapely.box(*box)) for box in boxes]


def boxed(shapes: list[Shape], mpp=(0.5, 0.5), levels=(SIZE,), **keys) -> Choice:
    """Patches of 20 px; the grid is of 200 px, of which one fits."""
    labels = {"source": "points", **BOXES, **keys.pop("labels", {})}
    spec = PatchSetSpec(slides="x", um=100, px=20, labels=labels, **keys)
    grid = lay_grid(spec, mpp, levels, [(levels[0][0] / width, levels[0][0] / width) for width, _ in levels])
    return choose(spec.labels, labelled(shapes=shapes), grid, grid.all(), classes=["cell", "rest"], seed=0)


def test_the_square_around_the_box_is_cut():
    shapes = [Shape("cell", Point(100, 80).buffer(20)), *cells((200, 100, 290, 130), (60, 200, 71, 240))]
    choice = boxed(shapes)
    assert choice.places.box.tolist() == [[80, 60, 120, 100], [200, 70, 290, 160], [46, 200, 86, 240]]
    assert choice.places.corner.tolist() == choice.places.box[:, :2].tolist()
    with pytest.raises(WorkError, match="a point has no bounding box"):
        boxed([Shape("cell", Point(5, 5))])


def test_a_square_is_moved_inside_and_left_out_only_when_it_does_not_fit():
    choice = boxed(cells((0, 0, 100, 20), (350, 200, 400, 300), (0, 10, 390, 40), (390, 100, 412, 130)))
    assert choice.places.box.tolist() == [[0, 0, 100, 100], [300, 200, 400, 300]]
    assert choice.dropped["outside the slide"] == 2  # one wider than the slide is high, one beside the slide


def test_squares_are_read_from_level_0():
    choice = boxed(cells((40, 40, 240, 240)), levels=(SIZE, (200, 150), (100, 75)))
    assert choice.places.box.tolist() == [[40, 40, 240, 240]]


def test_squares_are_such_in_um():
    (box,) = boxed(cells((100, 100, 150, 110)), mpp=(0.5, 0.4)).places.box.tolist()
    assert (box[0], box[2]) == (100, 150)
    assert box[3] - box[1] == round(50 * 0.5 / 0.4)
    (box,) = boxed(cells((100, 100, 110, 150)), mpp=(0.5, 0.4)).places.box.tolist()
    assert (box[1], box[3]) == (100, 150)
    assert box[2] - box[0] == round(50 * 0.4 / 0.5)


def test_an_object_that_would_be_enlarged_too_much_is_left_out():
    shapes = cells((10, 10, 29, 28), (60, 10, 70, 79), (110, 10, 120, 28))  # 19 px are enlarged 1.053 times
    choice = boxed(shapes)
    assert choice.places.box.tolist() == [[31, 10, 100, 79]]
    assert choice.dropped["objects smaller than 19.05 pixels"] == 2
    assert len(boxed(shapes, max_upsample=1.06).places) == 2
    assert len(boxed(shapes, max_upsample=1.2).places) == 3


def test_a_slide_that_is_coarse_for_the_grid_gives_objects_and_no_negatives():
    choice = boxed(cells((10, 10, 50, 50)), mpp=(6.0, 6.0), labels={"background": "rest"})
    assert choice.places.box.tolist() == [[10, 10, 50, 50]]
    left_out = choice.dropped["squares of the grid smaller than 19.05 pixels"] + choice.dropped["on an object"]
    assert left_out == 24 * 18


def test_objects_of_one_corner_and_unlike_size_are_two():
    choice = boxed(cells((100, 100, 150, 150), (100, 100, 180, 180), (100, 100, 150, 130), (100, 110, 150, 140)))
    assert choice.places.box.tolist() == [[100, 100, 150, 150], [100, 100, 180, 180], [100, 90, 150, 140]]
    assert choice.dropped["same place"] == 1  # the last is cut as the first
