"""Further test sets in the report: rows, blocks and a matrix of their own; verdicts rest on own test sets alone."""

import csv
import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from raysweep.report.seen import IMAGES, NONE, Seen
from raysweep.report.spec import CompareSpec
from raysweep.report.summary import summary_rows
from raysweep.report.verify import verify
from raysweep.report.write import write_report
from raysweep.storage import Storage
from raysweep.transfer.metrics import score

from .fake_study import make_cell, segmentation, write_cell, write_checkpoint

_SKILLS = {"base": 0.6, "ours": 0.7}
_TESTED = {"glands": ("crag", "moon"), "crag": ("glands",), "alone": ()}


def _folds(seed: int, skill: float) -> pa.Table:
    """A further test set as three folds' models predict it, of 12 units."""
    parts = [segmentation(10 * seed + fold, units=12, images=2, skill=skill - 0.05 * fold) for fold in range(3)]
    place = parts[0].schema.get_field_index("fold")
    column = lambda fold: pa.array(np.full(24, fold, np.int32))  # noqa: E731
    return pa.concat_tables([p.set_column(place, "fold", column(fold)) for fold, p in enumerate(parts)])


def _study(folder: Storage) -> SimpleNamespace:
    cells = []
    for task, others in _TESTED.items():
        for name, skill in _SKILLS.items():
            seen = tuple(Seen(o, IMAGES if o == "moon" and name == "ours" else NONE) for o in (task, *others))
            cell = make_cell(folder, name, task, "segmentation", "finetune", 1.0, unit="patient", seen=seen,
                             further=tuple((other, "image") for other in others))  # fmt: skip
            own = [segmentation(i, units=24, images=2, skill=skill) for i in range(3)]
            further = {other: [_folds(i, skill - 0.2) for i in range(3)] for other in others}
            write_cell(folder, cell, own, further=further)
            cells.append(cell)
    checkpoints = {name: [folder.at("checkpoints", name)] for name in _SKILLS}
    for (place,) in checkpoints.values():
        write_checkpoint(place)
    return SimpleNamespace(folder=folder, study="cross", compare=CompareSpec(baseline="base"), patch_sets={},
                           checkpoints=checkpoints, cells=cells)  # fmt: skip


def _table(folder: Storage, name: str) -> list[dict[str, str]]:
    text = folder.read_bytes("report", "tables", f"{name}.csv").decode()
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    study = _study(Storage.open(tmp_path_factory.mktemp("cross")))
    write_report(**vars(study))
    return study


def test_all_of_it_can_be_recomputed(study: SimpleNamespace) -> None:
    found = verify(study.folder.root)
    assert found.differences == []
    assert found.n_files == len(list(Path(study.folder.root).rglob("predictions/*.parquet")))


def test_every_test_set_has_rows_of_its_own(study: SimpleNamespace) -> None:
    rows = _table(study.folder, "results")
    sets = [("glands", "glands"), ("crag", "crag"), ("alone", "alone"), ("glands", "crag"), ("glands", "moon"),
            ("crag", "glands")]  # fmt: skip
    assert [(row["task"], row["test set"], row["checkpoint"]) for row in rows] == [
        (*pair, name) for pair in sets for name in _SKILLS
    ]
    for row in rows:
        own = row["task"] == row["test set"]
        assert (row["unit"], row["test units"]) == (("patient", "24") if own else ("image", "12"))
        assert float(row["low"]) < float(row["value"]) < float(row["high"])
        assert row["seen"] == (IMAGES if row["test set"] == "moon" and row["checkpoint"] == "ours" else NONE)
    moon = next(row for row in rows if row["test set"] == "moon")
    folds = [score(segmentation(10 * i + f, units=12, images=2, skill=0.6 - 0.2 - 0.05 * f), "dice", "segmentation")
             for i in range(3) for f in range(3)]  # fmt: skip
    assert float(moon["value"]) == pytest.approx(np.mean(folds), abs=1e-4)
    main = _table(study.folder, "main")
    assert [(row["task"], row["test set"]) for row in main] == [pair for pair in sets for _ in _SKILLS]
    assert ["†" in row["100 %"] for row in main].count(True) == 1


def test_only_own_test_sets_are_judged(study: SimpleNamespace) -> None:
    for row in _table(study.folder, "differences"):
        own = row["task"] == row["test set"]
        assert (row["family"], bool(row["verdict"]), bool(row["p corrected"])) == (
            "primary" if own else "exploratory",
            own,
            own,
        )
        assert float(row["difference"].replace("−", "-")) > 0
    header, rows = summary_rows(study.folder)
    assert header == ["task", "test set", "protocol", "metric", "checkpoint", "100 %", "against base"]
    told = {(row[0] == row[1], row[4]): row[-1] for row in rows}
    assert told == {
        (True, "base"): "baseline",
        (True, "ours"): "better by more than the margin",
        (False, "base"): "baseline",
        (False, "ours"): "",
    }


def test_a_matrix_shows_what_was_trained_on_against_what_was_tested_on(study: SimpleNamespace) -> None:
    rows = _table(study.folder, "matrix")
    assert list(rows[0]) == [
        "protocol",
        "fraction",
        "checkpoint",
        "metric",
        "trained on",
        "on glands",
        "on crag",
        "on moon",
    ]
    assert [(row["checkpoint"], row["trained on"]) for row in rows] == [
        (name, task) for name in _SKILLS for task in ("glands", "crag")
    ]
    values = {(r["task"], r["test set"], r["checkpoint"]): r["value"] for r in _table(study.folder, "results")}
    for row in rows:
        for test_set in ("glands", "crag", "moon"):
            value = values.get((row["trained on"], test_set, row["checkpoint"]))
            assert row[f"on {test_set}"].split(" ")[0] == ("" if value is None else f"{float(value):.3f}")
    page = study.folder.read_bytes("report", "index.html").decode()
    assert page.count('id="matrix"') == 1
    assert "glands, tested on moon, finetune" in page
    assert page.index("<h3>alone, finetune") < page.index("<h3>glands, tested on crag, finetune")


def test_what_is_lost_elsewhere_has_an_interval(study: SimpleNamespace) -> None:
    rows = _table(study.folder, "drops")
    assert [(r["task"], r["test set"], r["checkpoint"]) for r in rows] == [
        (task, other, name) for task, others in _TESTED.items() for other in others for name in _SKILLS
    ]
    for row in rows:
        own, there = float(row["own value"]), float(row["value there"])
        assert float(row["relative drop"]) == pytest.approx(1 - there / own, abs=1e-6)
        assert float(row["low"]) < float(row["relative drop"]) < float(row["high"])
    assert rows[0]["low"] > "0.2"
    page = study.folder.read_bytes("report", "index.html").decode()
    assert "Relative drop: the part of its own value" in page


def test_without_further_test_sets_nothing_speaks_of_them(tmp_path) -> None:
    study = _study(Storage.open(tmp_path))
    write_report(**vars(study))
    study.cells = [replace(cell, further=()) for cell in study.cells]
    write_report(**vars(study))
    assert "matrix.csv" not in study.folder.names("report", "tables")
    assert "test set" not in _table(study.folder, "main")[0]
    page = study.folder.read_bytes("report", "index.html").decode()
    assert "Trained on" not in page
    assert ", tested on" not in page
    assert "further test sets" not in page
