"""Cards by name, spelt out, shipped and wrong."""

import pytest
import yaml

from raysweep.errors import RequestError
from raysweep.storage import shipped
from raysweep.tasks.cards import list_cards, load_card
from raysweep.tasks.layouts import layout_of

SHIPPED = sorted(path.stem for path in shipped("datasets").glob("*.yaml"))


def write_card(folder, card, **keys):
    folder.mkdir(parents=True, exist_ok=True)
    value = {**card.model_dump(mode="json", exclude_defaults=True), **keys}
    (folder / f"{card.name}.yaml").write_text(yaml.safe_dump(value))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_card_parses_with_valid_layout_options(name):
    card = load_card(name, [])
    layout, options = layout_of(card)
    assert layout.name == card.layout["type"]
    assert type(options) is layout.options
    assert card.title
    if card.licence.restricted:
        assert card.licence.url


def test_the_cards_of_the_demo_and_of_glas_are_shipped():
    assert {"demo-tissue", "demo-glands", "glas-grade", "glas-glands"} <= set(SHIPPED)
    assert [card.name for card in list_cards([])] == SHIPPED


def test_the_study_folder_comes_first_then_its_datasets_then_the_shipped(tmp_path, make_card):
    card = make_card(name="glas-grade")
    write_card(tmp_path / "datasets", card, title="second")
    assert load_card("glas-grade", [tmp_path]).title == "second"
    write_card(tmp_path, card, title="first")
    assert load_card("glas-grade", [tmp_path]).title == "first"
    assert load_card("glas-grade", []).title.startswith("GlaS")
    (tmp_path / "study.yaml").write_text("name: study\ntasks: [glas-grade]\n")
    listed = list_cards([tmp_path, tmp_path / "datasets"])
    assert [c.name for c in listed] == SHIPPED
    assert next(c for c in listed if c.name == "glas-grade").title == "first"


def test_an_inline_card_is_a_card(make_card):
    card = make_card()
    assert load_card(card.model_dump(mode="json"), []) == card


def test_the_first_metric_is_the_cards_own(make_card):
    assert make_card(metrics=["auroc", "accuracy"]).metric == "auroc"


@pytest.mark.parametrize(
    ("name", "near"), [("glas-grades", "glas-grade"), ("demo-tisue", "demo-tissue"), ("../datasets/glas-grade", "glas")]
)
def test_an_unknown_name_lists_the_nearest(name, near):
    with pytest.raises(RequestError, match=f"no card is called {name}; there is .*{near}"):
        load_card(name, [])


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"metric": "dice"}, "metric and metrics are both given"),
        ({"metrics": ["accuracy", "dice"]}, "metrics: dice: a classification task is scored by some of accuracy"),
        ({"metrics": ["pq"]}, "metrics: pq: a classification task is scored by some of accuracy"),
        ({"objects": {"connectivity": 6}}, "objects.connectivity: a pixel has 4 neighbours, or 8"),
        ({"metrics": ["auroc", "accuracy", "auroc"]}, "metrics: every metric is listed once"),
        ({"metrics": []}, "metrics: "),
        ({"metrics": "accuracy"}, "metrics: "),
        ({"classes": ["a", "a"]}, "classes: every class has a name of its own"),
        ({"classes": ["a"]}, "classes: "),
        ({"at_mpp": 1.0}, "at_mpp needs mpp"),
        ({"layout": {"file": "x.csv"}}, "layout: give layout.type"),
        ({"splits": {"type": "fold"}}, "splits.type: "),
    ],
)
def test_a_wrong_card_names_file_and_key(tmp_path, make_card, keys, says):
    write_card(tmp_path, make_card(), **keys)
    with pytest.raises(RequestError) as caught:
        load_card("toy", [tmp_path])
    said = str(caught.value)
    assert "toy.yaml: " in said
    assert says in said
    assert "\n" not in said


def test_a_name_that_would_leave_its_folder_is_refused(make_card):
    with pytest.raises(RequestError, match="name: "):
        load_card({**make_card().model_dump(mode="json"), "name": "../toy"}, [])


def test_a_missing_key_a_broken_file_and_a_list_are_refused(tmp_path, make_card):
    write_card(tmp_path, make_card())
    text = (tmp_path / "toy.yaml").read_text()
    (tmp_path / "toy.yaml").write_text(text.replace("root: toy\n", ""))
    with pytest.raises(RequestError, match=r"toy\.yaml: root: is missing"):
        load_card("toy", [tmp_path])
    (tmp_path / "toy.yaml").write_text("a: [")
    with pytest.raises(RequestError, match=r"toy\.yaml, line 1: not YAML"):
        load_card("toy", [tmp_path])
    (tmp_path / "toy.yaml").write_text("- a")
    with pytest.raises(RequestError, match="a card is a mapping"):
        load_card("toy", [tmp_path])


def test_a_card_is_named_as_its_file(tmp_path, make_card):
    write_card(tmp_path, make_card(), name="other")
    with pytest.raises(RequestError, match="the card calls itself other; name it as its file, toy"):
        load_card("toy", [tmp_path])


def test_ignore_of_a_card_is_that_of_its_masks(make_card):
    pairs = {"type": "image_mask_pairs"}
    card = make_card("segmentation", layout=pairs, ignore=[255])
    assert card.layout == {**pairs, "masks": {"ignore": [255]}}
    assert layout_of(card)[1].masks.ignore == [255]
    both = {"type": "csv", "file": "x.csv", "mask": "{m}", "masks": {"binarise": True}}
    assert make_card("segmentation", layout=both, ignore=7).layout["masks"] == {"binarise": True, "ignore": 7}
    for kind, layout, says in (
        ("classification", pairs, "which only a segmentation task has"),
        ("segmentation", {**pairs, "masks": {"ignore": 255}}, "ignore and layout.masks.ignore are both given"),
    ):
        keys = {**make_card(kind).model_dump(), "layout": layout, "ignore": 255}
        with pytest.raises(RequestError, match=says):
            load_card(keys, [])


def test_a_segmentation_task_has_no_more_classes_than_fit_a_mask(make_card):
    for n, kind in ((255, "segmentation"), (300, "classification")):
        layout_of(make_card(kind, classes=[str(i) for i in range(n)]))
    with pytest.raises(RequestError, match="classes: at most 255 fit a mask"):
        layout_of(make_card("segmentation", classes=[str(i) for i in range(256)]))


def test_a_key_given_twice_in_a_card_is_refused_with_its_line(tmp_path, make_card):
    write_card(tmp_path, make_card())
    path = tmp_path / "toy.yaml"
    path.write_text(path.read_text() + "unit: slide\n")
    with pytest.raises(
        RequestError, match=r"toy\.yaml, line \d+: the key unit is given twice, also in line \d+; keep one"
    ):
        load_card("toy", [tmp_path])


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("classes", "a, b", r"classes: should be a list, such as \[a, b\]"),
        ("classes", ["a", " b"], "classes: a class has a name, without spaces around it"),
        ("classes", ["a", ""], "classes: a class has a name, without spaces around it"),
        ("mpp", "0,5", "mpp: should be a number, with a point and no comma"),
        ("n_images", "many", "n_images: should be a whole number"),
        ("licence", "CC0", "licence: should be a mapping of keys to values"),
        ("metrics", "accuracy", r"metrics: should be a list, such as \[a, b\]"),
    ],
)
def test_a_value_of_another_kind_is_said_in_plain_words(make_card, key, value, said):
    with pytest.raises(RequestError, match=said):
        load_card({**make_card().model_dump(exclude_defaults=True), key: value}, [])
