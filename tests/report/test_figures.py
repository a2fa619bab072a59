import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest

from raysweep.report.figures import Point, curves, inline, rows, short
from raysweep.report.style import marks

NAMES = ["imagenet", "<b>&$x_1$", "a-name-that-is-far-too-long-for-a-figure"]
LOOK = marks(NAMES)


def points(n: int) -> dict[float, Point]:
    return {f: Point(0.5 + f / 10, 0.45, 0.65) for f in (0.1, 0.5, 1.0)[:n]}


@pytest.fixture
def drawings() -> list[str]:
    series = {name: points(3) for name in NAMES}
    grouped = {name: [(f"{f:g}", p) for f, p in points(3).items()] for name in NAMES}
    alone = {name: [("", Point(0.5, None, None))] for name in NAMES}
    return [curves(series, LOOK, "dice", {0.1: 12}), rows(grouped, LOOK, "difference", 0.02), rows(alone, LOOK, "dice")]


def test_files_are_svg_with_names_and_the_checkpoint_colours(drawings):
    for drawing in drawings:
        text = "".join(ET.fromstring(drawing).itertext())
        assert "imagenet" in text
        assert "<b>&$x_1$" in text  # neither markup nor mathematics
        assert short(NAMES[2]) in text
        assert all(LOOK[name].colour in drawing for name in NAMES)


def test_equal_input_gives_equal_bytes_without_a_date(drawings):
    series = {name: points(3) for name in NAMES}
    assert curves(series, LOOK, "dice", {0.1: 12}) == drawings[0]
    assert "dc:date" not in drawings[0]
    assert "matplotlib.org" not in drawings[0]


def test_inlined_figures_follow_the_theme_and_keep_to_themselves(drawings):
    one, two = inline(drawings[0], "a", 'title "x" <y>'), inline(drawings[0], "b", "t")
    assert "var(--c0)" in one
    assert LOOK["imagenet"].colour not in one
    assert "<style" not in one
    root = ET.fromstring(one)
    assert root.get("aria-label") == 'title "x" <y>'
    ids = [{e.get("id") for e in ET.fromstring(t).iter() if e.get("id")} for t in (one, two)]
    assert ids[0]
    assert not ids[0] & ids[1]
    used = {v.split("#")[1] for e in root.iter() for k, v in e.attrib.items() if k.endswith("href")}
    assert used <= ids[0]


def test_labels_at_line_ends_do_not_overlap():
    names = [f"c{i}" for i in range(10)]
    series = {name: {0.1: Point(0.5, None, None), 1.0: Point(0.7, None, None)} for name in names}
    root = ET.fromstring(curves(series, marks(names), "dice", {}))
    heights = []
    for element in root.iter():
        if element.tag.endswith("text") and element.text in names:
            place = element.get("transform") or ""
            heights.append(float(element.get("y") or place.split(")")[0].split()[-1]))
    heights.sort()
    assert len(heights) == 10
    assert min(b - a for a, b in pairwise(heights)) > 12


def test_every_checkpoint_looks_different():
    look = marks([f"c{i}" for i in range(64)])
    assert len({(m.colour, m.marker) for m in look.values()}) == 64
    assert len({m.colour for m in list(look.values())[:8]}) == 8


def test_a_single_value_without_spread_can_be_drawn():
    assert "<svg" in rows({"imagenet": [("", Point(1.0, None, None))]}, LOOK, "accuracy")
    assert "<svg" in rows({"imagenet": [("", Point(0.0, None, None))]}, LOOK, "difference", 0.0)
