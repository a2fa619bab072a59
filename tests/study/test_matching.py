"""Which units of a task are in a source: what counts as proof, and what is an accident."""

from pathlib import Path
from typing import Any

import pytest

from raysweep.study.matching import Shown, TaskUnits, same_collection
from raysweep.tasks.card import Card
from raysweep.tasks.examine import Examined
from raysweep.tasks.sample import Sample
from raysweep.tasks.task import Task


def _tested(units: list[str], unit: str = "patient", ids: list[str] | None = None, **keys: Any) -> TaskUnits:
    """A task of one image a unit, the i-th of the bytes `9-i`."""
    card = Card.model_validate(
        {"name": "task", "kind": "classification", "classes": ["x", "y"], "source": "made", "licence": {"name": "CC0"},
         "root": "t", "layout": {"type": "csv", "file": "x.csv"}, "unit": unit, "metrics": ["accuracy"], **keys}
    )  # fmt: skip
    names = ids or [f"{i}.png" for i in range(len(units))]
    samples = [Sample(name, name, None, 0, of) for name, of in zip(names, units, strict=True)]
    return TaskUnits(Task(card, Path("/nowhere"), samples, [], [Examined(f"9-{i}", "", ()) for i in range(len(units))]))


def _shown(**keys: Any) -> Shown:
    sets = {key: frozenset(value) for key, value in keys.items() if key in ("ids", "units", "hashes")}
    return Shown(**{"source": "slides", **keys, **sets})


def test_the_bytes_of_a_file_and_a_barcode_count_wherever_they_are() -> None:
    tested = _tested(["1", "2", "TCGA-AA-0001"], ids=["a.png", "TCGA-BB-0002-01A.png", "c.png"])
    for labelled in (False, True):
        assert tested.units_in(_shown(hashes=["9-0"], labelled_set=labelled)) == {"1"}
        assert tested.units_in(_shown(ids=["x/tcga-bb-0002-01z-00-dx1.svs"], labelled_set=labelled)) == {"2"}
        assert tested.units_in(_shown(units=["TCGA-AA-0001"], labelled_set=labelled)) == {"TCGA-AA-0001"}
    assert tested.units_in(_shown(hashes=["9-7"], ids=["TCGA-AA-0009.svs"])) == frozenset()


@pytest.mark.parametrize(
    ("task", "source", "shared"),
    [
        ({}, {}, True),
        ({"collection": "one"}, {}, True),
        ({"collection": "one"}, {"collections": ("two",)}, False),
        ({"collection": "one"}, {"collections": ("One",)}, True),
        ({}, {"labelled_set": True}, False),
        ({"collection": "one"}, {"labelled_set": True, "collections": ("two",)}, False),
        ({"collection": ["one", "x"]}, {"labelled_set": True, "collections": ("one",)}, True),
        ({"unit": "image"}, {}, False),
        ({"unit": "slide"}, {}, True),
    ],
)
def test_equal_names_count_where_they_are_no_accident(task: dict, source: dict, shared: bool) -> None:
    tested = _tested(["Case 17", "3"], **task)
    assert tested.units_in(_shown(units=["case 17"], **source)) == ({"Case 17"} if shared else set())
    assert tested.units_in(_shown(ids=["CASE 17.svs"], **source)) == ({"Case 17"} if shared else set())


def test_of_its_own_set_the_units_count_alone() -> None:
    tested = _tested(["1", "2"])
    own = _shown(source="task", labelled_set=True, units=["2"], ids=["0.png"], hashes=["9-0"])
    assert tested.is_own(own)
    assert tested.units_in(own) == {"2"}, "the same bytes under two units are told by the set itself"
    assert not tested.is_own(_shown(source="task"))


def test_one_collection_says_little_where_patients_are_known() -> None:
    barcodes = ["TCGA-AA-0001", "TCGA-AA-0002"]
    source = {"ids": ["TCGA-CC-0003.svs"], "units": ["TCGA-CC-0003"]}
    assert _tested(barcodes, "image").knows_patients(), "barcodes tell them"
    assert not _tested(barcodes).of_collection(_shown(**source, complete=True))
    assert _tested(barcodes).of_collection(_shown(**source))
    assert _tested(["1", "2"], "image", collection="TCGA").of_collection(_shown(**source, complete=True))
    assert not _tested(["1", "2"], "image").of_collection(_shown(**source))
    assert not _tested(["1", "2"], "image").knows_patients()


def test_a_part_is_of_its_whole() -> None:
    assert same_collection({"tcga-brca"}, {"tcga"})
    assert same_collection({"x", "tcga"}, {"tcga-brca"})
    assert not same_collection({"tcga-brca"}, {"tcga-coad"})
    assert not same_collection({"tcga2"}, {"tcga"})
    assert not same_collection(set(), {"tcga"})
