from pathlib import Path

import pytest

from raysweep.errors import RequestError
from raysweep.tasks.card import Card
from raysweep.tasks.further import as_tested, check_further, further_samples
from raysweep.tasks.sample import Sample
from raysweep.tasks.task import Task


def _card(name: str = "far", **keys) -> Card:
    plain = {
        "name": name, "kind": "segmentation", "classes": ["background", "nucleus"], "source": "none", "unit": "image",
        "licence": {"name": "CC0"}, "root": "r", "layout": {"type": "image_mask_pairs"}, "metrics": ["dice"],
        "mpp": 0.5,
    }  # fmt: skip
    return Card.model_validate(plain | keys)


def test_sets_of_one_kind_classes_and_scale_fit() -> None:
    check_further(_card(), _card("near"))
    for scale in ({"mpp": 0.46}, {"mpp": 0.25, "at_mpp": 0.54}, {"mpp": None}):
        check_further(_card(**scale), _card("near"))


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"name": "near"}, "is the task itself, whose own test part is scored anyway; take it out"),
        ({"kind": "classification", "metrics": ["auroc"]},
         "is a classification set, and the task is one of segmentation; take it out"),
        ({"classes": ["nucleus", "background"]},
         "has the classes nucleus, background, and the task background, nucleus; write a card of the set with the "
         "task's names in the task's order"),
        ({"mpp": 0.44}, "is worked at 0.44 um per pixel, and the task at 0.5; set at_mpp: 0.5 in its card"),
        ({"at_mpp": 0.56}, "is worked at 0.56 um per pixel, and the task at 0.5; set at_mpp: 0.5 in its card"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_in_a_sentence(keys: dict, says: str) -> None:
    name = keys.get("name", "far")
    with pytest.raises(RequestError) as caught:
        check_further(_card(**({"name": "far"} | keys)), _card("near"))
    assert str(caught.value) == f"task near: test_sets: {name} {says}"


def test_all_samples_are_tested_unless_the_set_names_its_test_part() -> None:
    sides = ["train", "test", "val", "test"]
    samples = [Sample(str(i), f"{i}.png", f"{i}-m.png", None, f"u{i}", split=side) for i, side in enumerate(sides)]
    for splits, tested in (({"type": "given"}, [1, 3]), ({"type": "file", "file": "t.csv"}, [1, 3]),
                           ({"type": "holdout"}, [0, 1, 2, 3]), ({"type": "folds"}, [0, 1, 2, 3])):  # fmt: skip
        assert further_samples(Task(_card(splits=splits), Path("r"), samples)) == tested


def test_of_repeated_divisions_what_any_of_them_tests_is_tested_once() -> None:
    sides = [("train", "test"), ("test", "test"), ("train", "train"), ("", "val"), ("test", "")]
    samples = [Sample(str(i), f"{i}.png", f"{i}-m.png", None, f"u{i}", sides=of) for i, of in enumerate(sides)]
    splits = {"type": "repeated", "file": "t.csv", "divisions": ["a", "b"]}
    assert further_samples(Task(_card(splits=splits), Path("r"), samples)) == [0, 1, 4]


def test_it_is_seen_and_scored_as_the_task_and_read_as_it_is() -> None:
    masks = {"type": "image_mask_pairs", "masks": {"values": {3: "nucleus", 0: "background"}}}
    further = Task(_card(px=64, layout=masks), Path("r"), [])
    assert further.masks.values == {3: "nucleus", 0: "background"}
    seen = as_tested(further, _card("near", px=96, metrics=["iou", "dice"], objects={"min_px": 7}))
    assert (seen.card.name, seen.card.px, seen.card.metrics) == ("far", 96, ["iou", "dice"])
    assert seen.card.objects.min_px == 7
    assert seen.masks == further.masks
    assert further.card.px == 64
