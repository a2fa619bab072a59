from dataclasses import replace

import pytest

from raysweep.errors import RequestError
from raysweep.report.merge import merge_reports
from raysweep.report.registration import record
from raysweep.report.share import share_report
from raysweep.report.spec import CompareSpec
from raysweep.report.told import Told, save_told
from raysweep.report.verify import verify
from raysweep.storage import Storage

from .fake_study import make_study

KEYS = {"seed": "aa", "tasks.tissue": "bb", "splits.tissue": "cc", "transfer.trials": "dd", "transfer.repeats": "ee"}


def told(root, name, skills, **changes):
    """A study that was told what a report is told, of its own checkpoints beside the baseline."""
    study = make_study(root / name, fractions=(1.0,), units=12, skills={"imagenet": 0.9, **skills}, tasks=("tissue",),
                       protocols=("finetune",))  # fmt: skip
    study.study, study.registration = name, dict(KEYS)
    for key, value in changes.items():
        setattr(study, key, value)
    record(study.folder, study.compare)
    rest = {key: value for key, value in vars(study).items() if key != "folder"}
    save_told(Told(question=None, **rest), study.folder)
    return study.folder


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return told(tmp_path_factory.mktemp("merge"), "one", {"simclr": 1.6})


def test_checkpoints_of_two_studies_stand_side_by_side(first, tmp_path):
    second = told(tmp_path, "two", {"random": 0.2}, registration=KEYS | {"transfer.repeats": "other"})
    out = Storage.open(tmp_path / "both")
    report = merge_reports([first, second], out)
    table = report.read_bytes("tables", "main.csv").decode()
    assert [line.split(",")[3] for line in table.splitlines()[1:]] == ["imagenet", "simclr", "random"]
    pairs = report.read_bytes("tables", "pairs.csv").decode()
    assert ",simclr,random," in pairs, "checkpoints that no study had together"
    page = report.read_bytes("index.html").decode()
    assert "one + two: which pretraining is worth it?" in page
    assert verify(out.root).differences == []
    shared = Storage.open(tmp_path / "shared")
    share_report(out, shared)
    assert verify(shared.root).differences == []


def test_a_comparison_that_one_of_them_changed_later_is_told(first, tmp_path):
    second = tmp_path / "two"
    record(Storage.open(second), CompareSpec(baseline="imagenet", margin=0.1))
    report = merge_reports([first, told(tmp_path, "two", {"random": 0.2})], Storage.open(tmp_path / "both"))
    assert "compare.margin was 0.1 when the first search began" in report.read_bytes("index.html").decode()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"compare": CompareSpec(baseline="imagenet", margin=0.1)}, "compare.margin is 0.02 in the one and 0.1"),
        ({"compare": CompareSpec(baseline="random")}, "compare.baseline is imagenet in the one and random"),
        ({"registration": KEYS | {"seed": "x"}}, "seed is not the same in both, so task tissue was not tested alike"),
        ({"registration": KEYS | {"splits.tissue": "x"}}, "splits.tissue is not the same in both"),
        ({"registration": KEYS | {"transfer.steps": "x"}}, "transfer.steps is not the same in both"),
    ],
)
def test_what_is_not_alike_is_refused(first, tmp_path, changes, words):
    second = told(tmp_path, "two", {"random": 0.2}, **changes)
    with pytest.raises(RequestError, match=f"^one and two: {words}"):
        merge_reports([first, second], Storage.open(tmp_path / "both"))
    assert not Storage.open(tmp_path / "both").names()


def test_a_name_with_two_meanings_is_refused(first, tmp_path):
    study = make_study(tmp_path / "two", fractions=(1.0,), units=12, skills={"imagenet": 0.9, "simclr": 1.6},
                       tasks=("tissue",), protocols=("finetune",))  # fmt: skip
    study.study, study.registration = "two", KEYS
    other = {**study.checkpoints, "simclr": [study.folder.at("checkpoints/simclr/ffffffff")]}
    rest = {key: value for key, value in vars(study).items() if key != "folder"}
    save_told(Told(question=None, **rest | {"checkpoints": other}), study.folder)
    with pytest.raises(RequestError, match="checkpoint simclr is not the same in both; rename it"):
        merge_reports([first, study.folder], Storage.open(tmp_path / "both"))
    moved = [replace(c, repeats=tuple(replace(r, path=f"{r.path}x") for r in c.repeats)) for c in study.cells]
    save_told(Told(question=None, **rest | {"cells": moved}), study.folder)
    with pytest.raises(RequestError, match="cell imagenet · tissue · finetune · 100 % was made in two ways"):
        merge_reports([first, study.folder], Storage.open(tmp_path / "both"))


def test_nothing_is_written_over_something_else(first, tmp_path):
    with pytest.raises(RequestError, match=r"there is something else in this folder \(cells\); name another one"):
        merge_reports([first, first], first)
