"""The image_mask_pairs layout: a glob of images, a template for masks, units from names or a table."""

import unicodedata

import pytest

from raysweep.errors import RequestError
from raysweep.tasks.find import find_everything, find_samples
from raysweep.tasks.layouts import layout_of
from raysweep.tasks.sample import LeftOut


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
        (
            "image,patient\nimages/p1_x.png,\nimages/p2_y.png,P\n",
            "the column 'patient' is empty; every image has a patient",
        ),
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


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def test_leftovers_are_passed_by_but_for_a_folder_that_the_glob_names(root, make_card):
    touch(root, "images/.ipynb_checkpoints/p1_x-checkpoint.png", "images/@eaDir/p1_x.png/T.png", "images/._p1_x.png")
    for glob in ("images/*.png", "**/*.png", "images/**/*.png"):
        samples = samples_of(make_card("segmentation", layout=pairs(images=glob), unit="image"), root)
        assert [s.image for s in samples] == ["images/p1_x.png", "images/p2_y.png"]
    touch(root, ".data/images/1.png")
    samples = samples_of(make_card("segmentation", layout=pairs(images=".data/images/*.png"), unit="image"), root)
    assert [s.image for s in samples] == [".data/images/1.png"]


def test_suffixes_in_capitals_and_other_forms_of_unicode_are_found(tmp_path, make_card):
    nfd = unicodedata.normalize("NFD", "Gewebe-ä")
    nfc = unicodedata.normalize("NFC", nfd)
    touch(tmp_path, f"images/{nfd}.PNG", "images/x.webp", f"masks/{nfc}.Png", "masks/x.png")
    (tmp_path / "t.csv").write_text(f"image,patient\n{nfc},Jörg\nx,y\n")
    layout = pairs(images="images/*", table={"file": "t.csv", "image": "{stem}", "unit": "patient"})
    found = find_samples(make_card("segmentation", layout=layout), tmp_path)
    assert [(s.id, s.image, s.mask, s.unit) for s in found] == [
        (f"images/{nfc}.PNG", f"images/{nfd}.PNG", f"masks/{nfc}.Png", "Jörg"),
        ("images/x.webp", "images/x.webp", "masks/x.png", "y"),
    ]


def test_a_glob_of_another_file_type_says_which_are_read(tmp_path, make_card):
    touch(tmp_path, "images/x.gif")
    with pytest.raises(
        RequestError, match=r"finds no image below .*; 1 files match, none of a type that is read: \.bmp"
    ):
        samples_of(make_card("segmentation", layout=pairs(images="images/*"), unit="image"), tmp_path)


def test_two_images_of_one_name_in_two_forms_are_refused(tmp_path, make_card):
    touch(tmp_path, *(f"images/{unicodedata.normalize(form, 'ä')}.png" for form in ("NFC", "NFD")))
    with pytest.raises(RequestError, match=r"two images .* called images/ä\.png, in two forms of Unicode"):
        find_samples(make_card("segmentation", layout=pairs(), unit="image"), tmp_path)


def test_filters_of_the_table_leave_images_out_and_n_images_counts_them(root, make_card):
    (root / "t.csv").write_text("image,patient,stain\np1_x,P1,he\np2_y,,pas\nq,Q,van gieson\n")
    table = {"file": "t.csv", "image": "{stem}", "unit": "patient", "where": {"stain": "he"}}
    card = make_card("segmentation", layout=pairs(table=table), n_images=2)
    assert [s.image for s in find_samples(card, root)] == ["images/p1_x.png"]
    left = [one for one in find_everything(card, root) if isinstance(one, LeftOut)]
    assert [(s.image, s.mask) for s in left] == [("images/p2_y.png", "masks/p2_y.png")]
    with pytest.raises(RequestError, match=r"table\.where: no image of images/\*\.png is in a row with these values"):
        find_samples(make_card("segmentation", layout=pairs(table={**table, "where": {"stain": "van gieson"}})), root)
    with pytest.raises(RequestError, match=r"layout\.table\.where: no row has 'HE' in the column 'stain'"):
        find_samples(make_card("segmentation", layout=pairs(table={**table, "where": {"stain": "HE"}})), root)


def test_an_image_of_several_rows_is_taken_where_one_of_them_is_wanted(root, make_card):
    (root / "t.csv").write_text("image,who,at\np1_x,A,1\np1_x,B,2\np2_y,B,2\np2_y,A,1\n")
    table = {"file": "t.csv", "image": "{stem}", "unit": "at", "where": {"who": "B"}}
    found = find_samples(make_card("segmentation", layout=pairs(table=table)), root)
    assert [(s.image, s.unit) for s in found] == [("images/p1_x.png", "2"), ("images/p2_y.png", "2")]


def test_a_table_names_subgroups(root, make_card):
    (root / "t.csv").write_text("image,patient,stain_group\np1_x,P1,pink\np2_y,P2,\n")
    table = {"file": "t.csv", "image": "{stem}", "unit": "patient", "groups": {"stain": "stain_group"}}
    samples = find_samples(make_card("segmentation", layout=pairs(table=table)), root)
    assert [s.groups for s in samples] == [(("stain", "pink"),), (("stain", "not given"),)]


def test_a_pattern_names_the_split_and_masks_stand_in_the_folder_beside(tmp_path, make_card):
    for name in ("Train/Images/1.png", "Train/Labels/1.png", "Test/Images/2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    keys = {"images": "**/Images/*.png", "mask": "{parent}/Labels/{stem}.png", "split": "(Train|Test)/"}
    splits = {"Train": "train", "Test": "test"}
    card = make_card("segmentation", layout=pairs(**keys, splits=splits), unit="image")
    assert [(s.image, s.mask, s.split) for s in samples_of(card, tmp_path)] == [
        ("Test/Images/2.png", "Test/Labels/2.png", "test"), ("Train/Images/1.png", "Train/Labels/1.png", "train"),
    ]  # fmt: skip
    for change, says in (
        ({"split": "(Valid)/"}, r"layout\.split: \(Valid\)/ finds no split in Test/Images/2\.png"),
        ({"splits": {"Train": "train"}}, "split 'Test' is none of train, val, test"),
        ({"splits": {**splits, "Valid": "val"}}, "Valid has no image, so val is empty"),
    ):
        card = make_card("segmentation", layout=pairs(**{**keys, "splits": splits, **change}), unit="image")
        with pytest.raises(RequestError, match=says):
            samples_of(card, tmp_path)


def test_of_several_masks_the_first_that_is_there(tmp_path, make_card):
    for name in ("a/1.png", "b/2.png", "masks/1.png", "b/2_mask.PNG", "b/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    masks = ["masks/{stem}.png", "{folder}/{stem}_mask.png"]
    card = make_card("segmentation", layout=pairs(images="[ab]/?.png", mask=masks), unit="image")
    assert [s.mask for s in samples_of(card, tmp_path)] == ["masks/1.png", "b/2_mask.png", "masks/3.png"]
    with pytest.raises(RequestError, match="give one template at least"):
        samples_of(make_card("segmentation", layout=pairs(mask=[]), unit="image"), tmp_path)
