"""`labels:` of a study: what is understood and what is refused."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from raysweep.errors import RequestError
from raysweep.slides.labels.classes import classes_of, mask_classes_of
from raysweep.slides.labels.spec import LabelSpec

CAMELYON = {
    "source": "regions",
    "rule": "area >= 0.1",
    "classes": {"tumor": ["_0", "_1", "Tumor"]},
    "subtract": ["_2", "Exclusion"],
    "background": "normal",
    "background_from": {"kind": "negative"},
    "per_class": 1000,
}
PANDA = {
    "source": "mask",
    "rule": "center",
    "values_by": "provider",
    "values": {
        "radboud": {"ignore": [0], "benign": [1, 2], "cancer": [3, 4, 5]},
        "karolinska": {"ignore": 0, "benign": 1, "cancer": 2},
    },
}


def test_a_study_without_labels_takes_those_of_the_slides():
    spec = LabelSpec()
    assert (spec.source, spec.reads_masks, spec.reads_annotations) == ("slide", False, False)
    assert classes_of(spec, ["lung", "brain", "lung"]) == ["brain", "lung"]
    assert mask_classes_of(spec) == []


@pytest.mark.parametrize("keys", [CAMELYON, PANDA])
def test_a_spec_survives_its_manifest(keys):
    spec = LabelSpec(**keys)
    assert LabelSpec.model_validate(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    ("rule", "least"), [("center", None), ("any", None), ("area >= 0.1", 0.1), ("area>=.5", 0.5), ("area >= 1", 1.0)]
)
def test_rules(rule, least):
    assert LabelSpec(**CAMELYON | {"rule": rule}).least_area == least


def test_names_may_be_numbers_and_lists_may_be_left_out():
    spec = LabelSpec(classes={"colon": ["colon", "rectum"], 1: 7}, ignore="skin")
    assert spec.classes == {"colon": ["colon", "rectum"], "1": ["7"]}
    assert spec.ignore == ["skin"]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (CAMELYON | {"rule": None}, "the source regions needs a `rule`"),
        (CAMELYON | {"background_from": {"tumor": False}}, r"background_from\.tumor: false is a value of its own"),
        (CAMELYON | {"classes": {True: ["_0"]}}, "classes: true is a value of its own"),
        (CAMELYON | {"ignore": [None]}, "ignore: null is a value of its own"),
        (CAMELYON | {"rule": "area > 0.1"}, "is none of center, any and area >= a fraction"),
        (CAMELYON | {"rule": "area >= 0"}, "above 0 and at most 1"),
        (CAMELYON | {"rule": "area >= 1.5"}, "above 0 and at most 1"),
        (CAMELYON | {"classes": {}}, "the source regions needs `classes`"),
        (CAMELYON | {"subtract": ["_0"]}, "_0 stands in `classes.tumor` and in `subtract`"),
        (CAMELYON | {"classes": {"a": ["x"], "b": ["x"]}}, "x stands in `classes.a` and in `classes.b`"),
        (CAMELYON | {"background": None}, "`background_from` needs `background`"),
        (CAMELYON | {"background": None, "background_from": {}, "absent": "background"}, "`absent: background` needs"),
        (CAMELYON | {"samples": 3}, "`samples` is not for the source regions, only for points"),
        (CAMELYON | {"values": {"a": [1]}}, "`values` needs the source mask or `store_mask: true`"),
        ({"rule": "any"}, "`rule` is not for the source slide, only for regions, mask"),
        ({"background": "normal"}, "`background` is not for the source slide"),
        ({"absent": "skip"}, "`absent` is about annotations and masks"),
        ({"store_mask": True}, "`store_mask` needs `values`"),
        ({"source": "points", "classes": {"a": ["x"]}, "samples": 3}, "`samples` above 1 needs `jitter`"),
        ({"source": "points", "classes": {"a": ["x"]}, "jitter": 0.1, "box": True}, "`jitter` and `box` exclude"),
        (PANDA | {"values": {}}, "the source mask needs `values`"),
        (PANDA | {"values_by": None}, "with `values_by`"),
        (PANDA | {"values": {"a": [1]}}, "with `values_by`"),
        (PANDA | {"values": {"radboud": {"a": [1, 2], "b": [2]}}}, "value 2 of the mask has two meanings"),
        (PANDA | {"values": {"radboud": {"a": [70000]}}}, "from 0 to 65535"),
        (PANDA | {"values": {"radboud": {}}}, "`values` names no value"),
        (PANDA | {"classes": {"a": ["x"]}}, "`classes` is not for the source mask"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(keys, says):
    with pytest.raises(ValidationError, match=says):
        LabelSpec(**keys)


def test_values_may_be_a_range():
    spec = LabelSpec(source="mask", rule="any", values={"a": 0, "b": ["1-3", 7], "ignore": "10 - 11"})
    assert spec.values == {"a": [0], "b": [1, 2, 3, 7], "ignore": [10, 11]}
    with pytest.raises(ValidationError, match="value 2 of the mask has two meanings"):
        LabelSpec(source="mask", rule="any", values={"a": 2, "b": "1-65535"})


def test_class_ids():
    assert classes_of(LabelSpec(**CAMELYON), ()) == ["normal", "tumor"]
    placed = CAMELYON | {"classes": {"tumor": ["_0"], "normal": []}}
    assert classes_of(LabelSpec(**placed), ()) == ["tumor", "normal"]
    assert classes_of(LabelSpec(**PANDA), ()) == ["benign", "cancer"]
    organs = LabelSpec(classes={"colon": ["colon", "rectum"], "brain": ["brain"]}, ignore=["skin"])
    assert classes_of(organs, ["rectum", "skin", "brain"]) == ["colon", "brain"]
    with pytest.raises(RequestError, match="has the label lung, which no class names"):
        classes_of(organs, ["rectum", "lung"])


def test_mask_classes():
    assert mask_classes_of(LabelSpec(**CAMELYON | {"store_mask": True})) == ["normal", "tumor"]
    assert mask_classes_of(LabelSpec(**PANDA | {"store_mask": True})) == ["benign", "cancer"]
    graded = LabelSpec(store_mask=True, values={"background": [0], "stroma": [1]})
    assert classes_of(graded, ["0", "5"]) == ["0", "5"]
    assert mask_classes_of(graded) == ["background", "stroma"]


def test_the_spec_is_cheap_to_import():
    heavy = ["numpy", "shapely", "tifffile", "PIL"]
    code = f"import sys, raysweep.slides.labels.spec; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
