from dataclasses import replace

from raysweep.report.cells import CellRef
from raysweep.report.family import Verdict
from raysweep.report.findings import Comparison, Findings
from raysweep.report.intervals import Difference
from raysweep.report.spec import CompareSpec
from raysweep.report.words import answer

CELL = CellRef("p", "a", "t", "classification", "finetune", 1.0, ("accuracy",), ())


def comparison(checkpoint: str, word: str, task: str = "glands", fraction: float = 0.1) -> Comparison:
    cell = replace(CELL, checkpoint=checkpoint, task=task, fraction=fraction)
    found = None if word == "not compared" else Difference(0.043, 20, 3, 0.022, 0.064, 0.001, 1.0)
    return Comparison(cell, "dice", found, Verdict(word, 0.01, 1.0, 0.012, 0.074), "")


def asked(comparisons, *, baseline="imagenet", checkpoints=("imagenet", "a", "b"), finished=4):
    findings = Findings(baseline, {}, comparisons)
    return answer(
        findings, compare=CompareSpec(baseline=baseline), checkpoints=checkpoints, finished=finished, planned=9
    )


def test_headline_names_what_is_better_and_worse():
    family = [comparison("a", "better"), comparison("a", "undecided", fraction=1.0), comparison("b", "worse")]
    found = asked(family)
    assert found.headline == "Better than imagenet: a. Worse: b."
    assert found.totals == "3 comparisons with imagenet (finetune): 1 found better, 1 found worse, 1 undecided."
    assert found.lines[0].checkpoint == "a"
    assert found.lines[0].parts[0] == ("better", ["glands at 10\u00a0%\u00a0(+0.043\u00a0[+0.012,\u00a0+0.074])"])


def test_a_comparison_that_was_changed_later_is_called_exploratory():
    findings = Findings("imagenet", {}, [comparison("a", "better")])
    found = answer(
        findings, compare=CompareSpec(), checkpoints=["imagenet", "a"], finished=1, planned=1, exploratory=True
    )
    assert found.headline.startswith("Exploratory: the comparison was changed after results were there. Better than")


def test_undecided_is_not_called_equal():
    said = "No checkpoint was found better or worse than imagenet; that is not the same as equal."
    assert asked([comparison("a", "undecided")]).headline == said
    same = [comparison(name, "no difference that matters") for name in "ab"]
    assert asked(same).headline == "No checkpoint differs from imagenet by the margin."


def test_lack_of_data_is_a_verdict_of_its_own():
    assert asked([comparison("a", "not enough data")]).headline == "Not enough data for a verdict."
    assert asked([comparison("a", "not enough data")]).totals.endswith("1 without enough data.")


def test_several_tasks_are_counted():
    family = [comparison("a", "better"), comparison("a", "undecided", task="grade")]
    assert asked(family).headline == "Better than imagenet: a (in 1 of 2 tasks)."
    family += [comparison("b", "undecided"), comparison("c", "not worse by the margin", task="grade")]
    assert asked(family).headline.endswith("a (in 1 of 2 tasks). Found neither better nor worse: b and c.")


def test_there_is_a_sentence_when_there_is_no_verdict():
    assert "no repeat is finished" in asked([], finished=0).headline
    assert "not among the checkpoints" in asked([comparison("a", "better")], baseline="lost").headline
    assert "nothing could be compared" in asked([comparison("a", "not compared")]).headline
    assert "no cell uses finetune" in asked([]).headline
    assert "only imagenet was studied" in asked([], checkpoints=("imagenet",)).headline


def test_many_comparisons_are_counted_and_many_checkpoints_cut():
    family = [comparison("a", "worse", task=f"t{i}") for i in range(9)]
    assert asked(family).lines[0].parts == [("worse", ["9 comparisons, listed below"])]
    names = ["imagenet", *(f"c{i}" for i in range(20))]
    family = [comparison(n, "better" if n == "c19" else "undecided") for n in names[1:]]
    found = asked(family, checkpoints=names)
    assert (len(found.lines), found.lines_left, found.lines[0].checkpoint) == (12, 8, "c19")
