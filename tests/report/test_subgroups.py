"""Values within subgroups: recounted here, refused where test units are too few, and shown without any verdict."""

import csv
import io
import re
from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pytest

from raysweep.report.rows import read_rows
from raysweep.report.share import share_report
from raysweep.report.subgroups import subgroup_values
from raysweep.report.verify import verify
from raysweep.report.write import write_report
from raysweep.storage import Storage
from raysweep.tasks.subgroups import save_subgroups
from raysweep.tasks.task import Task
from raysweep.transfer.metrics import score

from .fake_study import make_study


def name_subgroups(folder, groups) -> None:
    """groups: from a unit to its pairs of kind and subgroup."""
    task = Task.load(folder, ".")
    task.samples = [replace(s, groups=groups(s.unit)) for s in task.samples]
    save_subgroups(task, folder)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """24 test units: site A has 16, B 8, scanner y 3; training units are of site C."""
    study = make_study(tmp_path_factory.mktemp("groups"), fractions=(0.1, 1.0), protocols=("finetune",),
                       skills={"imagenet": 0.9, "simclr": 1.5})  # fmt: skip

    def groups(unit):
        if unit.startswith("t"):
            return (("site", "C"),)
        number = int(unit[1:])
        return (("site", "A" if number < 16 else "B"), ("scanner", "y" if number < 3 else "x"))

    name_subgroups(study.tasks["tissue"], groups)
    return study


@pytest.fixture(scope="module")
def found(study):
    rows, cells = read_rows(study.cells, None)
    return subgroup_values(cells, rows, study.tasks, study.compare)


@pytest.fixture(scope="module")
def page(study):
    return write_report(**vars(study)).read_bytes("index.html").decode()


def test_a_value_is_that_of_the_predictions_in_the_subgroup(study, found):
    _, table = found
    rows = [dict(zip(table.headers, row, strict=True)) for row in table.rows]
    assert len(rows) == 2 * 2 * 4, "checkpoints, fractions, subgroups that are tested"
    assert {r["subgroup"] for r in rows} == {"A", "B", "x", "y"}, "nobody of site C is tested"
    cell = next(c for c in study.cells if (c.task, c.checkpoint, c.fraction) == ("tissue", "imagenet", 1.0))
    values = []
    for repeat in cell.repeats:
        predictions = repeat.folder.read_table("predictions", "tissue.parquet")
        own = predictions.filter(pc.greater_equal(predictions["unit"], "u016"))
        values.append(score(own, "balanced_accuracy", "classification"))
    (row,) = [r for r in rows if (r["checkpoint"], r["fraction"], r["subgroup"]) == ("imagenet", "1", "B")]
    assert float(row["value"]) == pytest.approx(np.mean(values), abs=1e-4)
    assert row["reason"] == ""
    assert float(row["low"]) < float(row["value"]) < float(row["high"])
    assert (row["test images"], row["test units"]) == ("48", "8")


def test_too_few_units_have_no_interval_and_no_value_on_the_page(found):
    blocks, table = found
    (row, *_) = [dict(zip(table.headers, r, strict=True)) for r in table.rows if "y" in r]
    assert row["low"] == row["high"] == ""
    assert row["reason"] == "too few: 3 test units: at least 8 are needed"
    scanners = next(b for b in blocks if b.kind == "scanner")
    assert [name for name, _ in scanners.columns] == ["x", "y"]
    assert scanners.columns[1] == ("y", ["18 images", "3 patients"])
    assert all(cells[1].text == "too few" for _, cells in scanners.rows)


def test_the_page_has_them_without_stars_or_verdicts(page):
    start = page.index('<h2 id="subgroups">')
    section = page[start : page.index("<h2", start + 5)]
    text = re.sub(r"<[^>]*>", " ", section)
    assert "Exploratory" in text
    assert "tissue by site" in text
    assert "tissue by scanner" in text
    assert "glands by" not in text
    assert "100 % of the labels" in text
    for sign in ("★", "<b>", "verdict", "▲"):
        assert sign not in section
    assert 'href="#subgroups"' in page


def test_the_table_is_plain_numbers(study, page):
    text = study.folder.read_bytes("report", "tables", "subgroups.csv").decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 16
    assert all(float(r["value"]) for r in rows)


def test_the_report_is_recomputed_and_a_shared_copy_has_none(study, page, tmp_path):
    assert verify(study.folder.root).differences == []
    shared = share_report(study.folder, Storage.open(tmp_path / "shared"))
    assert not shared.exists("tables", "subgroups.csv")
    assert 'id="subgroups"' not in shared.read_bytes("index.html").decode()


def test_many_subgroups_are_cut_on_the_page_those_with_the_most_images_stay(study, tmp_path):
    folder = Storage.open(tmp_path)
    for name in ("task.json", "index.parquet"):
        folder.write_bytes(study.tasks["tissue"].read_bytes(name), name)
    name_subgroups(folder, lambda unit: (("site", f"s{min(int(unit[1:]) // 2, 10):02d}"),))
    rows, cells = read_rows(study.cells, None)
    (block,), table = subgroup_values(cells, rows, {"tissue": folder}, study.compare)
    assert len(block.columns) == 8
    assert block.left == 3
    assert block.columns[-1] == ("s10", ["24 images", "4 patients"])
    assert len({row[6] for row in table.rows}) == 11
