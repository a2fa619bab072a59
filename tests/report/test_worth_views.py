import csv
import io

import pytest

from raysweep.report.compare import compare_cells
from raysweep.report.findings import TaskFindings
from raysweep.report.rows import read_rows
from raysweep.report.worth import FEWER, MORE, Worth
from raysweep.report.worth_views import worth_table, worth_words

from .fake_study import make_study, with_status


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((140.4, 90.0, MORE), "a reaches b's score at 500 images with 140 (95 % interval 90 to more than 300)"),
        ((FEWER, FEWER, 90.0),
         "a reaches b's score at 500 images already with the fewest, 20 (95 % interval 20 or fewer to 90)"),
        ((FEWER, FEWER, FEWER),
         "a reaches b's score at 500 images already with the fewest, 20 (95 % interval 20 or fewer)"),
        ((MORE, 120.0, MORE),
         "a does not reach b's score at 500 images with up to 300 (95 % interval 120 to more than 300)"),
        ((MORE, MORE, MORE),
         "a does not reach b's score at 500 images with up to 300 (95 % interval more than 300)"),
    ],
)  # fmt: skip
def test_words(ends, said):
    assert worth_words(Worth(500, 20, 300, *ends), "a", "b", 0.05) == said


def test_numbers_outside_what_was_studied_are_words_and_empty_for_machines():
    worth = {"a": Worth(500, 20, 300, 140.4, FEWER, MORE), "c": Worth(500, 20, 300, reason="few units")}
    table = worth_table([TaskFindings("t", "dice", (0.1, 1.0), [], worth=worth)], "b", 0.05)
    first, second = csv.DictReader(io.StringIO(table.csv()))
    assert (first["images to reach it"], first["low"], first["high"]) == ("140.4", "", "")
    assert table.rows[0][6:8] == ["20 or fewer", "more than 300"]
    assert (second["images to reach it"], second["in words"], second["reason"]) == ("", "", "few units")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    skills = {"imagenet": 0.9, "random": 0.1, "simclr": 1.8}
    return make_study(tmp_path_factory.mktemp("worth"), fractions=(0.1, 0.3, 1.0), protocols=("finetune",),
                      tasks=("glands",), skills=skills, repeats=4)  # fmt: skip


def found(study, cells=None):
    rows, cells = read_rows(cells or study.cells, None)
    [task] = compare_cells(cells, rows, study.compare, baseline="imagenet").tasks
    return task.worth


def test_a_study_says_what_each_checkpoint_is_worth(study):
    """Each tenfold of labels is worth 0.05 of skill, simclr 0.135 above imagenet and random 0.12 below."""
    worth = found(study)
    assert worth["simclr"].value == FEWER
    assert worth["simclr"].saves
    assert (worth["random"].value, worth["random"].low) == (MORE, MORE)
    assert {(w.images, w.fewest, w.most) for w in worth.values()} == {(240, 24, 240)}


def test_what_lacks_a_repeat_is_not_told(study):
    cells = [with_status(c, "failed", "no memory") if (c.checkpoint, c.fraction) == ("simclr", 0.3) else c
             for c in study.cells]  # fmt: skip
    worth = found(study, cells)
    assert worth["simclr"].reason == "not every number of labels has a value in each planned repeat"
    assert not worth["random"].reason


def test_one_number_of_labels_has_no_curve(study):
    assert found(study, [c for c in study.cells if c.fraction == 1.0]) == {}
