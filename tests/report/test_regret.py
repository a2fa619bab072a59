"""Best-so-far of searches: by hand, by properties, and from the tables that repeats leave."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.report.compare import compare_cells
from raysweep.report.regret import best_so_far, came_last, search_curves, tell_searches
from raysweep.report.rows import read_rows
from raysweep.report.spec import CompareSpec
from raysweep.report.style import marks
from raysweep.storage import Storage

from .fake_study import classification, make_cell, write_cell

NAN = float("nan")


def test_best_so_far_by_hand():
    np.testing.assert_array_equal(best_so_far([None, 0.4, 0.6, None, 0.5], "val_metric"), [NAN, 0.4, 0.6, 0.6, 0.6])
    np.testing.assert_array_equal(best_so_far([0.9, 1.2, 0.3], "val_loss"), [0.9, 0.9, 0.3])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=12))
def test_it_never_gets_worse_and_ends_with_the_best(values):
    best = best_so_far(values, "val_metric")
    known = [v for v in values if v is not None]
    finite = best[np.isfinite(best)]
    assert (np.diff(finite) >= 0).all()
    assert best[-1] == max(known) if known else np.isnan(best[-1])
    turned = best_so_far([None if v is None else -v for v in values], "val_loss")
    np.testing.assert_array_equal(-turned, best)


@pytest.mark.parametrize(
    ("values", "select", "late"),
    [([0.1, 0.2, 0.3], "val_metric", True), ([0.1, 0.3, 0.3], "val_metric", False), ([0.3, 0.2, 0.1], "val_loss", True),
     ([0.1, 0.2], "val_metric", False), ([0.1, 0.2, None], "val_metric", False), ([None, None, 0.1], "last", True),
     ([None, None, None], "last", False)],
)  # fmt: skip
def test_the_best_came_last(values, select, late):
    assert came_last(values, select) is late


def test_searches_are_averaged_as_they_ran(tmp_path):
    home = Storage.open(tmp_path)
    cells = [make_cell(home, name, "t", "classification", "finetune", 1.0, repeats=2) for name in ("a", "b")]
    for cell in cells:
        write_cell(home, cell, [classification(i, units=8, images=2, skill=1.0) for i in range(2)])
    found = {  # a: two folds in repeat 0, its rows in another order; b: its first trial failed
        ("a", 0): [(1, 0, 0.2), (1, 1, 0.6), (1, 2, 0.9), (0, 2, 0.1), (0, 1, 0.5), (0, 0, 0.4)],
        ("a", 1): [(0, 0, 0.3), (0, 1, 0.1), (0, 2, 0.6)],
        ("b", 0): [(0, 0, None), (0, 1, 0.5), (0, 2, 0.4)],
        ("b", 1): [(0, 0, 0.2), (0, 1, 0.7), (0, 2, 0.1)],
    }
    for (name, number), trials in found.items():
        folds, numbers, values = zip(*trials, strict=True)
        status = ["failed" if v is None else "done" for v in values]
        table = {"fold": folds, "number": numbers, "value": values, "status": status,
                 "select": ["val_metric"] * len(trials)}  # fmt: skip
        folder = next(c for c in cells if c.checkpoint == name).repeats[number].folder
        folder.write_table(pa.table(table), "trials.parquet")
    rows, known = read_rows(cells, None)
    findings = compare_cells(known, rows, CompareSpec(), baseline="a")
    [block], late, table = tell_searches(known, search_curves(known), findings.estimates, marks(["a", "b"]))
    lines = [dict(zip(table.headers, row, strict=True)) for row in table.rows]
    got = {(x["checkpoint"], x["trials"]): x["best so far"] for x in lines}
    assert got == {("a", "1"): "0.3000", ("a", "2"): "0.4667", ("a", "3"): "0.6667",
                   ("b", "1"): "undefined", ("b", "2"): "0.6000", ("b", "3"): "0.6000"}  # fmt: skip
    assert late == {cells[0].path: "2 of 3"}
    assert "trials as they ran" in block.caption
    assert block.alt.endswith("after the last trial a 0.667, b 0.600")
    assert any("a at 100 % (2 of 3)" in note and "b at" not in note for note in block.notes)
    assert "<svg" in block.figure
