"""What the page says beyond comparisons, from a study whose effects are known."""

import csv
import io
from dataclasses import replace

import pytest

from raysweep.report.over_tasks import over_tasks
from raysweep.report.over_tasks_views import over_tasks_lines, tasks_table
from raysweep.report.spec import CompareSpec

from .fake_study import make_study
from .test_write import page_of

SKILLS = {"imagenet": 0.9, "near": 0.96, "simclr": 1.8}


def table(study, name: str) -> list[dict[str, str]]:
    text = study.folder.read_bytes("report", "tables", f"{name}.csv").decode()
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    study = make_study(tmp_path_factory.mktemp("beyond"), fractions=(0.1, 0.3, 1.0), protocols=("finetune",),
                       skills=SKILLS, repeats=4)  # fmt: skip
    study.compare = CompareSpec(baseline="imagenet", margin=0.002)
    return study


@pytest.fixture(scope="module")
def page(study):
    return page_of(study)


def test_labels_saved_stand_in_the_sentence_and_in_a_table(study, page):
    text = page[1].text
    rows = {(row["task"], row["checkpoint"]): row for row in table(study, "worth")}
    assert set(rows) == {(task, name) for task in ("tissue", "glands") for name in ("near", "simclr")}
    row = rows["glands", "simclr"]
    said = text.replace("this simclr checkpoint", "simclr").replace("this imagenet checkpoint", "imagenet")
    assert row["in words"] in said
    assert (row["images of baseline"], row["fewest images"], row["curves"]) == ("240", "24", "2")
    assert 'id="worth"' in page[0]


def test_what_would_decide_an_open_comparison_is_told_with_numbers(study, page):
    text = page[1].text
    assert "What would decide it." in text
    rows = table(study, "purchases")
    first = rows[0]
    half, then = float(first["half-width"]), float(first["half-width then"])
    assert f"interval ±{100 * half:.1f} points. Twice the" in text
    assert f"±{100 * then:.1f}" in text
    assert float(first["ratio"]) == pytest.approx(then / half, abs=0.01)
    bought = {row["bought"] for row in rows if row["task"] == first["task"]}
    assert bought == {"test units", "repeats", "labelled images"}
    assert {row["then"] for row in rows if row["bought"] == "test units"} == {"48"}
    assert "More trials are left out" in text


def test_two_tasks_are_ranked_and_not_tested(study, page):
    text = page[1].text
    assert table(study, "ranks")[0]["checkpoint"] == "simclr"
    assert "No test: 2 data sets cannot tell" in text
    assert "rank_pairs.csv" not in study.folder.names("report", "tables")
    assert "ranks.svg" in study.folder.names("report", "figures")
    rows = table(study, "tasks")
    assert [row["task"] for row in rows] == ["tissue", "glands"]
    for row in rows:
        assert float(row["smallest p corrected"]) <= float(row["p over tasks"])
    assert "Corrected over all 2 tasks too (Holm)" in text


def test_another_rule_has_neither_and_cards_of_one_data_set_are_one_vote(tmp_path):
    skills = {"imagenet": 0.9, "simclr": 1.8}
    study = make_study(tmp_path, fractions=(0.1, 1.0), protocols=("finetune",), skills=skills, units=10)
    study.compare = CompareSpec(baseline="imagenet", rule="wilcoxon")
    study.cells = [replace(c, data_set="glas") for c in study.cells]
    text = page_of(study)[1].text
    assert "What would decide it" not in text
    assert "worth.csv" not in study.folder.names("report", "tables")
    assert "score at 240 images" not in text
    assert "From one data set each, and so one vote together: tissue and glands." in text
    assert "No test: 1 data set cannot tell" in text


def test_six_tasks_are_tested():
    values = {f"t{i}": {"imagenet": 0.5, "simclr": 0.6 + 0.01 * i} for i in range(6)}
    lines = over_tasks_lines(over_tasks(values, {}, alpha=0.05), tasks_table([]), CompareSpec())
    assert lines[-1] == "Pairs that differ (Wilcoxon's signed ranks, Holm): simclr before imagenet (p = 0.031)."
