"""The image_folder layout: folders are classes, names are units."""

import unicodedata

import pytest

from raysweep.errors import RequestError
from raysweep.tasks.layouts import layout_of


def samples_of(card, root):
    layout, options = layout_of(card)
    return layout.index(options, root, card)


def files(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def test_folders_are_classes_many_to_one_and_a_pattern_names_the_unit(tmp_path, make_card):
    root = files(tmp_path, "a/p1_x.png", "b/deep/p2_y.JPG", "B2/p2_z.tif", "junk/p3_q.png", "a/notes.txt", ".git/x.png")
    layout = {"type": "image_folder", "folders": {"B2": "b", "junk": None}, "unit": r"([^/]+)_[^/]*$"}
    samples = samples_of(make_card(layout=layout), root)
    assert [(s.image, s.label, s.unit, s.split) for s in samples] == [
        ("B2/p2_z.tif", 1, "p2", None),
        ("a/p1_x.png", 0, "p1", None),
        ("b/deep/p2_y.JPG", 1, "p2", None),
    ]
    assert len({s.id for s in samples}) == 3


def test_split_folders_come_before_class_folders(tmp_path, make_card):
    root = files(tmp_path, "big/a/1.png", "small/b/2.png", "small/a/1.png")
    layout = {"type": "image_folder", "splits": {"big": "train", "small": "test"}}
    samples = samples_of(make_card(layout=layout, unit="image"), root)
    assert [(s.image, s.label, s.split) for s in samples] == [
        ("big/a/1.png", 0, "train"), ("small/a/1.png", 0, "test"), ("small/b/2.png", 1, "test"),
    ]  # fmt: skip
    assert len({s.unit for s in samples}) == 3, "the same file name in two folders is two images"


def test_a_folder_of_no_class_is_refused(tmp_path, make_card):
    root = files(tmp_path, "a/1.png", "bb/1.png")
    with pytest.raises(RequestError, match=r"'bb' is none of the classes a, b.*map it in layout\.folders"):
        samples_of(make_card(layout={"type": "image_folder"}, unit="image"), root)


def test_a_missing_split_folder_is_refused(tmp_path, make_card):
    root = files(tmp_path, "train/a/1.png")
    layout = {"type": "image_folder", "splits": {"train": "train", "test": "test"}}
    with pytest.raises(RequestError, match=r"layout\.splits: the folder .*test does not exist"):
        samples_of(make_card(layout=layout, unit="image"), root)


def test_an_empty_split_and_an_empty_set_are_refused(tmp_path, make_card):
    root = files(tmp_path, "train/a/1.png", "test/a/notes.txt")
    layout = {"type": "image_folder", "splits": {"train": "train", "test": "test"}}
    with pytest.raises(RequestError, match=r"layout\.splits: test has no image, so test is empty"):
        samples_of(make_card(layout=layout, unit="image"), root)
    with pytest.raises(RequestError, match=r"no class folder below .* has an image of a type that is read"):
        samples_of(make_card(layout={"type": "image_folder"}, unit="image"), root / "test")


def test_units_are_named_or_refused(tmp_path, make_card):
    root = files(tmp_path, "a/1.png")
    with pytest.raises(RequestError, match=r"says nothing of the patient of an image"):
        samples_of(make_card(layout={"type": "image_folder"}), root)
    with pytest.raises(RequestError, match=r"finds no unit in a/1\.png"):
        samples_of(make_card(layout={"type": "image_folder", "unit": r"(p\d)"}), root)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"unit": "(a"}, "not a regular expression"),
        ({"unit": "(a)(b)"}, "exactly one group"),
        ({"folder": {}}, "folder: unknown key; known are folders, splits, unit"),
    ],
)
def test_wrong_options_are_refused(make_card, options, says):
    with pytest.raises(RequestError, match=says):
        layout_of(make_card(layout={"type": "image_folder", **options}))


def test_it_holds_no_masks(make_card):
    with pytest.raises(RequestError, match="image_folder cannot hold a segmentation task"):
        layout_of(make_card("segmentation", layout={"type": "image_folder"}))


def test_copies_that_tools_leave_are_no_images_at_any_depth(tmp_path, make_card):
    leftovers = [".ipynb_checkpoints/1-checkpoint.png", "@eaDir/1.png/THUMB_M.jpg", ".thumbnails/normal/1.png",
                 "__MACOSX/1.png", "deep/.AppleDouble/1.png", "deep/Thumbs/1.png", "deep/._1.png"]  # fmt: skip
    root = files(tmp_path, "a/1.png", "b/deep/1.png", *(f"{c}/{name}" for c in "ab" for name in leftovers))
    files(root, "__MACOSX/a/1.png", ".hidden/1.png", "@eaDir/1.png", "_old/1.png")
    samples = samples_of(make_card(layout={"type": "image_folder"}, unit="image"), root)
    assert [s.image for s in samples] == ["a/1.png", "b/deep/1.png"]


def test_folders_match_classes_in_every_form_of_unicode(tmp_path, make_card):
    nfd, nfc = (unicodedata.normalize(form, "drüse") for form in ("NFD", "NFC"))
    root = files(tmp_path, f"{nfd}/1.png", "größer/1.png")
    other = unicodedata.normalize("NFD", "größer")
    layout = {"type": "image_folder", "folders": {other: "b"}}
    samples = samples_of(make_card(layout=layout, unit="image", classes=[nfc, "b"]), root)
    assert [(s.image, s.label) for s in samples] == [(f"{nfd}/1.png", 0), ("größer/1.png", 1)]
    split = {"type": "image_folder", "splits": {nfc: "train"}}
    root = files(tmp_path / "split", f"{nfd}/a/1.png")
    assert [s.split for s in samples_of(make_card(layout=split, unit="image"), root)] == ["train"]
