"""Mask patches: the class of every pixel of a patch."""

import io

import numpy as np
import pytest
import shapely
from PIL import Image

from raysweep.errors import WorkError
from raysweep.slides.annotations.rasterize import rasterize
from raysweep.slides.annotations.shapes import Shape
from raysweep.slides.labels.classes import mask_classes_of
from raysweep.slides.labels.mask_patches import MaskPatches
from raysweep.slides.labels.spec import LabelSpec
from raysweep.slides.readers.mask_image import MaskSlide

from .makers import labelled, write_mask

SEG = {"store_mask": True, "values": {"ignore": [9], "background": [0], "stroma": [1], "cancer": [3, 4]}}


def test_values_become_class_ids(tmp_path):
    spec = LabelSpec(**SEG)
    values = np.random.default_rng(0).choice(np.array([0, 1, 3, 4, 9], np.uint8), (100, 120))
    with MaskSlide(write_mask(tmp_path / "m.tiff", values), (240, 200)) as mask:
        patches = MaskPatches(spec, labelled(mask=mask), mask_classes_of(spec))
        png = patches.png(np.array([40.0, 20, 140, 120]), 50)
    image = Image.open(io.BytesIO(png))
    assert (image.mode, image.size) == ("L", (50, 50))
    expected = np.array([0, 1, 77, 2, 2, 77, 77, 77, 77, 255], np.uint8)[values[10:60, 20:70]]
    np.testing.assert_array_equal(np.asarray(image), expected)


def test_a_value_that_no_rule_names_fails(tmp_path):
    spec = LabelSpec(**SEG)
    with MaskSlide(write_mask(tmp_path / "m.tiff", np.full((100, 120), 7, np.uint8)), (120, 100)) as mask:
        patches = MaskPatches(spec, labelled(mask=mask), mask_classes_of(spec))
        with pytest.raises(WorkError, match="no rule names the value 7"):
            patches.ids(np.array([0.0, 0, 10, 10]), 10)


REGIONS = {
    "source": "regions",
    "rule": "any",
    "classes": {"a": ["a"], "b": ["b"]},
    "subtract": ["hole"],
    "store_mask": True,
}


def test_regions_are_painted_the_first_class_on_top():
    shapes = [
        Shape("a", shapely.box(10, 10, 30, 30)),
        Shape("b", shapely.box(20, 20, 60, 60)),
        Shape("hole", shapely.box(50, 50, 90, 90)),
    ]
    for background, rest, a, b in ((None, 255, 0, 1), ("none", 0, 1, 2)):
        spec = LabelSpec(**REGIONS, background=background)
        ids = MaskPatches(spec, labelled(shapes=shapes), mask_classes_of(spec)).ids(np.array([0.0, 0, 80, 80]), 80)
        expected = np.full((80, 80), rest, np.uint8)
        expected[20:60, 20:60] = b
        expected[10:30, 10:30] = a
        expected[50:60, 50:60] = rest
        np.testing.assert_array_equal(ids, expected)


def test_a_large_region_has_no_seams():
    """Areas are cut to pieces; together they are still the whole."""
    rng = np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, 5000, endpoint=False)
    radius = 480 * (1 - 0.3 * np.sin(9 * angle) ** 2) + rng.normal(0, 2, 5000)
    # On half pixels, where centres and seams meet.
    corners = np.round(2 * (500 + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1))) / 2
    area = shapely.make_valid(shapely.Polygon(corners), method="structure", keep_collapsed=False)
    spec = LabelSpec(**REGIONS)
    patches = MaskPatches(spec, labelled(shapes=[Shape("a", area)]), mask_classes_of(spec))
    whole = rasterize([area], (1000, 1000), (1, 1))
    assert whole.mean() > 0.3
    rows, columns = np.mgrid[:1000, :1000] + 0.5
    outline = shapely.boundary(area)
    shapely.prepare(outline)  # a centre on the outline itself may be on either side
    clear = ~shapely.dwithin(outline, shapely.points(columns, rows), 1e-6)
    assert clear.mean() > 0.99
    for left, top, edge in ((0, 0, 1000), (300, 250, 100), (12, 480, 64), (700, 700, 256)):
        ids = patches.ids(np.array([left, top, left + edge, top + edge], float), edge)
        part = np.s_[top : top + edge, left : left + edge]
        np.testing.assert_array_equal((ids == 0)[clear[part]], whole[part][clear[part]])


def test_a_slide_without_regions_is_all_background():
    spec = LabelSpec(**REGIONS, background="none", absent="background")
    patches = MaskPatches(spec, labelled(), mask_classes_of(spec))
    assert (patches.ids(np.array([0.0, 0, 80, 80]), 8) == 0).all()
