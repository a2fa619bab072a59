"""The image_mask_pairs layout: a glob of images, a template for masks, units from names or a table."""

import pytest

from raysweep.errors import RequestError
from raysweep.tasks.layouts import layout_of


def samples_of(card, root):
    layout, options = layout_of(card)
    return layout.index(options, root, card)


def pairs(**options):
    return {"type": "image_mask_pairs", **options}


@pytest.fixture
def root(tmp_path):
    for name in ("images/p1_x.png", "images/p2_y.png", "images/.hidden.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_a_pattern_names_the_unit_and_a_template_the_mask(root, make_card):
    layout = pairs(mask="labels/{stem}_mask.tif", unit=r"/([^/_]+)_")
    samples = samples_of(make_card("segmentation", layout=layout), root)
    assert [(s.image, s.mask, s.unit, s.label) for s in samples] == [
        ("images/p1_x.png", "labels/p1_x_mask.tif", "p1", None),
        ("images/p2_y.png", "labels/p2_y_mask.tif", "p2", None),
    ]


def test_masks_can_stand_beside_their_images(root, make_card):
    layout = pairs(images="**/*.png", mask="{folder}/masks/{name}")
    (first, _) = samples_of(make_card("segmentation", layout=layout, unit="image"), root)
    assert (first.mask, first.unit) == ("images/masks/p1_x.png", "images/p1_x.png")


@pytest.mark.parametrize(("column", "key"), [("image", "{image}"), ("file", "{name}"), ("stem", "{stem}")])
def test_a_table_names_unit_and_split(root, make_card, column, key):
    words = {"image": "images/{}.png", "file": "{}.png", "stem": "{}"}[column]
    rows = [
        f"{words.format(n)},{u},{s}" for n, u, s in (("p2_y", "P2", "test"), ("p1_x", "P1", "train"), ("q", "Q", ""))
    ]
    (root / "samples.csv").write_text("\n".join([f"{column},patient,split", *rows]))
    table = {"file": "samples.csv", "column": column, "image": key, "unit": "patient", "split": "split"}
    samples = samples_of(make_card("segmentation", layout=pairs(table=table)), root)
    assert [(s.unit, s.split) for s in samples] == [("P1", "train"), ("P2", "test")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image,patient\nimages/p1_x.png,P1\n", r"has no row for images/p2_y\.png"),
        ("image,patient\nimages/p1_x.png,P1\nimages/p1_x.png,P1\n", "listed twice"),
        ("image,patient\nimages/p1_x.png,\nimages/p2_y.png,P\n", "has an empty patient"),
        ("image,person\nimages/p1_x.png,P1\n", "no column 'patient'"),
    ],
)
def test_a_wrong_table_is_refused(root, make_card, text, says):
    (root / "samples.csv").write_text(text)
    card = make_card("segmentation", layout=pairs(table={"file": "samples.csv", "unit": "patient"}))
    with pytest.raises(RequestError, match=says):
        samples_of(card, root)


def test_a_glob_that_finds_nothing_or_leaves_the_root_is_refused(root, make_card):
    with pytest.raises(RequestError, match=r"layout\.images: \*\.jpg finds no image below"):
        samples_of(make_card("segmentation", layout=pairs(images="*.jpg"), unit="image"), root)
    with pytest.raises(RequestError, match=r"layout\.images: the path '\.\./\*\.png' must stay below"):
        samples_of(make_card("segmentation", layout=pairs(images="../*.png"), unit="image"), root)
    with pytest.raises(RequestError, match=r"layout\.mask: the path '\.\./p1_x\.png' must stay below"):
        samples_of(make_card("segmentation", layout=pairs(mask="../{name}"), unit="image"), root)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mask": "masks/{nam}.png"}, r"\{nam\} means nothing here; there is \{image\}"),
        ({"mask": "mask.png"}, "names nothing in braces"),
        ({"unit": "(a)", "table": {"file": "t.csv", "unit": "patient"}}, "both name the unit"),
        ({"masks": {"binarise": True, "values": {1: "gland"}}}, r"layout\.masks\.binarise: needs exactly two classes"),
        ({"masks": {"values": {1: "glands"}}}, r"masks\.values\.1: glands is none of the classes background, gland"),
        ({"masks": {"values": {-1: "gland"}}}, "pixel values are at least 0"),
    ],
)
def test_wrong_options_are_refused(make_card, options, says):
    with pytest.raises(RequestError, match=says):
        layout_of(make_card("segmentation", layout=pairs(**options)))


def test_images_without_a_unit_are_refused(root, make_card):
    with pytest.raises(RequestError, match="says nothing of the patient"):
        samples_of(make_card("segmentation", layout=pairs()), root)
