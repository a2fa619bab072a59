"""Who would have led on validation with fewer trials."""

from dataclasses import replace

import numpy as np
import pytest

from raysweep.report.cells import CellRef
from raysweep.report.family import Verdict
from raysweep.report.fewer_trials import fewer_trials, leads
from raysweep.report.findings import Comparison, TaskFindings
from raysweep.report.regret import SearchCurve

NAN = float("nan")
CELL = CellRef("a/1", "a", "glands", "segmentation", "finetune", 1.0, ("dice",), ())


def curve(*best: float, select: str = "val_metric") -> SearchCurve:
    return SearchCurve(np.array(best), 3, 0, select)


def found(own: dict[str, SearchCurve], base: SearchCurve, verdicts: dict[str, str] | None = None):
    """Comparisons of checkpoints with `base` at one fraction, and all curves."""
    words = verdicts or {}
    cells = {name: replace(CELL, checkpoint=name, path=f"{name}/1") for name in [*own, "base"]}
    family = [Comparison(cells[n], "dice", None, Verdict(words.get(n, "undecided")), "") for n in own]
    curves = {cells[n].path: c for n, c in {**own, "base": base}.items()}
    return leads([TaskFindings("glands", "dice", (1.0,), family)], list(cells.values()), curves, "base")


@pytest.mark.parametrize(
    ("ours", "base", "settled"),
    [
        ((0.5, 0.6, 0.7), (0.4, 0.5, 0.6), 1),
        ((0.5, 0.6, 0.9), (0.6, 0.7, 0.8), 3),
        ((0.7, 0.7, 0.7), (0.6, 0.8, 0.8), 2),
        ((NAN, 0.6, 0.7), (0.4, 0.5, 0.6), 2),
        ((0.5, 0.6, 0.7), (0.4, 0.5, 0.7), 0),
        ((NAN, NAN, NAN), (0.4, 0.5, 0.7), 0),
    ],
)
def test_from_how_many_trials_on_the_same_one_leads(ours, base, settled):
    (lead,) = found({"a": curve(*ours)}, curve(*base))
    assert lead.settled == settled
    np.testing.assert_allclose(lead.after, np.subtract(ours, base))


def test_a_lower_loss_leads():
    (lead,) = found({"a": curve(1.0, 0.2, select="val_loss")}, curve(0.9, 0.5, select="val_loss"))
    assert lead.settled == 2
    np.testing.assert_allclose(lead.after, [-0.1, 0.3])


def test_what_cannot_be_compared_is_left_out():
    assert found({"a": curve(0.5)}, curve(0.4)) == [], "one trial is no search"
    assert found({"a": curve(0.5, 0.6, select="val_loss")}, curve(0.4, 0.5)) == []
    (lead,) = found({"a": curve(0.5, 0.6, 0.7)}, curve(0.4, 0.7))
    assert len(lead.after) == 2, "up to the trials that both have"


def test_the_sentence_says_where_the_lead_came_late_and_where_it_goes_against_the_verdict():
    own = {
        "first": curve(0.6, 0.7, 0.8),
        "late": curve(0.3, 0.4, 0.9),
        "level": curve(0.5, 0.5, 0.6),
        "wrong": curve(0.9, 0.9, 0.9),
    }
    verdicts = {"first": "better", "late": "better by more than the margin", "wrong": "worse"}
    (said,), table = fewer_trials(found(own, curve(0.5, 0.5, 0.6), verdicts), "base")
    assert said == (
        "glands: in 2 of 4 comparisons with base the one that leads on validation after all trials leads after the "
        "first; with fewer trials another would have led for late at 100 % (with up to 2 of 3; its verdict is better "
        "by more than the margin); neither leads at the end for level at 100 %; against its verdict on the test set is "
        "the lead on validation of wrong at 100 %."
    )
    rows = [dict(zip(table.headers, row, strict=True)) for row in table.rows]
    assert [r["leads"] for r in rows if r["checkpoint"] == "late"] == ["base", "base", "late"]
    assert [r["lead on val"] for r in rows if r["checkpoint"] == "late"] == ["−0.2000", "−0.1000", "+0.3000"]
    assert [r["leads"] for r in rows if r["checkpoint"] == "level"] == ["neither"] * 3


def test_many_that_changed_are_counted_those_with_a_verdict_first():
    own = {f"c{i}": curve(0.1, 0.9) for i in range(9)}
    (said,), _ = fewer_trials(found(own, curve(0.5, 0.5), {"c8": "better"}), "base")
    assert "led for c8 at 100 % (with up to 1 of 2; its verdict is better), c0 at 100 % (with up to 1 of 2)" in said
    assert said.endswith("and 3 more.") or said.endswith(", 3 more.")
