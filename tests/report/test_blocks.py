"""What is flagged beside the figure of values."""

from dataclasses import replace

import pytest

from raysweep.report.blocks import value_blocks
from raysweep.report.cells import CellRef
from raysweep.report.findings import Estimate, Findings
from raysweep.report.intervals import Interval
from raysweep.report.style import marks

CELL = CellRef("p", "a", "glands", "segmentation", "finetune", 1.0, ("dice",), ())


def notes(curves: dict[str, dict[float, float]], margin: float = 0.02) -> list[str]:
    estimates = []
    for name, points in curves.items():
        for fraction, value in points.items():
            cell = replace(CELL, checkpoint=name, fraction=fraction, path=f"{name}/{fraction:g}")
            estimates.append(Estimate(cell, "dice", Interval(value, value - 0.1, value + 0.1, 16, 3),
                                      round(240 * fraction), 4, 0, 0, 60, 1, 1, "patient"))  # fmt: skip
    findings = Findings("a", {e.cell.key: e for e in estimates}, [])
    (block,) = value_blocks([e.cell for e in estimates], findings, marks(list(curves)), margin=margin, late={})
    return [note for note in block.notes if note.startswith("Lower with more labels")]


def test_a_curve_that_falls_by_more_than_the_margin_is_told_with_both_ends():
    (said,) = notes({"up": {0.1: 0.6, 0.5: 0.7, 1.0: 0.8}, "down": {0.1: 0.71, 0.5: 0.8, 1.0: 0.68}})
    assert said == (
        "Lower with more labels, by more than the margin: down (0.800 at 50 %, 0.680 at 100 %). Look at the search, "
        "the steps and what was added."
    )


def test_the_largest_fall_counts_wherever_it_is_and_whatever_comes_after():
    (said,) = notes({"dips": {0.1: 0.9, 0.3: 0.6, 0.5: 0.55, 1.0: 0.95}})
    assert "dips (0.900 at 10 %, 0.550 at 50 %)" in said


@pytest.mark.parametrize(
    ("points", "margin"),
    [
        ({0.1: 0.6, 1.0: 0.6}, 0.0),
        ({0.1: 0.6, 1.0: 0.585}, 0.02),
        ({1.0: 0.6}, 0.0),
        ({0.1: 0.6, 1.0: float("nan")}, 0.0),
    ],
)
def test_level_rising_and_single_points_are_no_fall(points, margin):
    assert notes({"a": points}, margin) == []


def test_without_a_margin_any_fall_is_told_and_many_are_counted():
    curves = {f"c{i:02d}": {0.1: 0.6, 1.0: 0.599} for i in range(14)}
    (said,) = notes(curves, margin=0.0)
    assert said.count(" at 10 %") == 8
    assert "and 6 more" in said
