from dataclasses import replace

from raysweep.report.cells import CellRef
from raysweep.report.crossed import Crossed
from raysweep.report.crossover import Crossover
from raysweep.report.family import Verdict
from raysweep.report.findings import Comparison, Estimate, Findings, Pair, TaskFindings
from raysweep.report.intervals import Difference, Interval
from raysweep.report.sentences import task_sentence
from raysweep.report.spec import CompareSpec
from raysweep.report.worth import MORE, Worth

CELL = CellRef("p", "a", "glands", "segmentation", "finetune", 1.0, ("dice",), ())
COMPARE = CompareSpec(baseline="imagenet")


def estimate(name: str, fraction: float, pretrainings: int = 1) -> Estimate:
    cell = replace(CELL, checkpoint=name, fraction=fraction, path=f"{name}/{fraction:g}")
    return Estimate(cell, "dice", Interval(0.8, 0.7, 0.9, 16, 3), round(240 * fraction), round(40 * fraction), 0, 0, 60,
                    1, pretrainings, "patient")  # fmt: skip


def compared(
    name: str, fraction: float, word: str, value: float = 0.043, seed: float = 0.0, se: float = 0.01
) -> Comparison:
    found = Crossed(value, se, 9.0, seed, 0.0, 0.0, 16, 3, 3)
    d = Difference(value, 16, 3, value - 0.02, value + 0.02, 0.001, 0.5, 0.5, found=found)
    v = Verdict(word, 0.004, 0.5, value - 0.03, value + 0.03, 2)
    if word == "not enough data":
        d, v = Difference(value, 5, 3, reason="5 test units: at least 8 are needed", lacks=True), Verdict(word, m=2)
    return Comparison(estimate(name, fraction).cell, "dice", d, v, "")


def said(*comparisons, pretrainings=1, **more) -> str:
    fractions = tuple(sorted({c.cell.fraction for c in comparisons}))
    names = ["imagenet", *dict.fromkeys(c.cell.checkpoint for c in comparisons)]
    estimates = {e.cell.key: e for n in names for f in fractions for e in [estimate(n, f, pretrainings)]}
    found = TaskFindings("glands", "dice", fractions, list(comparisons), **more)
    return task_sentence(found, Findings("imagenet", estimates, list(comparisons), [found]), COMPARE)


def test_what_beats_what_by_how_much_with_how_many_labels_and_until_when():
    family = (compared("simclr", 0.1, "better"), compared("simclr", 1.0, "no difference that matters"),
              compared("random", 0.1, "worse"), compared("random", 1.0, "undecided"))  # fmt: skip
    found = said(*family, crossovers={"simclr": Crossover(1, 0)}, best={None: ("simclr",)})
    assert found == (
        "glands: with 24 labelled images of 4 patients, from this pool of 40 patients, this simclr checkpoint is "
        "better than this imagenet checkpoint: 4.3 points of Dice (95 % interval 1.3 to 7.3, corrected p = 0.004). "
        "The two are equal within 2 points from 240 images on. Worse: random (10 %). May be the best, over all numbers "
        "of labels: simclr."
    )
    assert "from this pool" in found


def test_equality_that_was_not_reached_is_an_answer_and_methods_need_three_pretrainings():
    family = (compared("simclr", 0.1, "better by more than the margin"), compared("simclr", 1.0, "undecided"))
    found = said(*family, pretrainings=3, crossovers={"simclr": Crossover(None, 0)})
    assert "simclr (3 seeds) is better than imagenet (3 seeds) by more than the margin of 2 points: " in found
    assert "Equality within 2 points is not reached with up to 240 images." in found
    assert "this checkpoint" not in found


def test_not_enough_data_is_neither_undecided_nor_no_difference():
    found = said(compared("a", 1.0, "not enough data"), compared("b", 1.0, "not enough data"))
    assert found == "glands: not enough data for a verdict (5 test units: at least 8 are needed)."


def test_each_equal_to_the_baseline_is_not_all_equal():
    up, down = (compared(n, 1.0, "no difference that matters", v) for n, v in (("a", 0.014), ("b", -0.014)))
    pair = Pair("a", "b", 1.0, up.difference, Verdict("undecided"))
    found = said(up, down, pairs=[pair])
    assert found.startswith("glands: each checkpoint differs from this imagenet checkpoint by less than 2 points.")
    assert "That does not say that they are as close to each other." in found
    assert "as close" not in said(up, down, pairs=[replace(pair, verdict=Verdict("no difference that matters"))])


def test_what_was_not_found_says_what_could_have_been_and_what_would_help():
    found = said(compared("a", 1.0, "undecided", 0.01))
    assert "no checkpoint was found better or worse than this imagenet checkpoint; that is not the same as" in found
    assert "a difference is found with a power of 80 % from 3.6 points on." in found
    few = compared("a", 0.1, "undecided", 0.01, se=0.4)
    assert "80 % from 3.6 points on, and none in 1 of 2 comparisons." in said(
        few, compared("a", 1.0, "undecided", 0.01)
    )
    assert "no difference is found with a power of 80 %." in said(few)
    stuck = said(compared("a", 1.0, "undecided", 0.01, seed=0.01))
    assert "more test units cannot show a difference of 2 points, more repeats can." in stuck


def test_a_mean_over_labels_says_what_no_single_number_of_labels_does():
    family = (compared("a", 0.1, "undecided", 0.05), compared("a", 1.0, "undecided", 0.05))
    mean = compared("a", 1.0, "better", 0.05)
    found = said(*family, means=[mean])
    assert found.startswith("glands: with no single number of labels a checkpoint was found better or worse than")
    claim = (
        "In the mean over all numbers of labels a is better: 5 points of Dice (95 % interval 2.0 to 8.0, corrected p"
    )
    assert claim in found
    assert "In the mean" not in said(compared("a", 0.1, "better"), family[1], means=[mean])
    worse = replace(mean, verdict=replace(mean.verdict, word="worse by more than the margin"))
    assert "a is worse by more than the margin of 2 points: " in said(*family, means=[worse])


def test_what_it_is_worth_in_labels_goes_first_where_fewer_do():
    family = (compared("simclr", 0.1, "better"), compared("simclr", 1.0, "undecided"))
    found = said(*family, worth={"simclr": Worth(240, 24, 240, 60.0, 31.0, 120.0)})
    assert found.startswith(
        "glands: this simclr checkpoint reaches this imagenet checkpoint's score at 240 images with 60 (95 % interval "
        "31 to 120). With 24 labelled images"
    )
    for other in (Worth(240, 24, 240, 200.0, 120.0, MORE), Worth(240, 24, 240, reason="few units")):
        assert "score at" not in said(*family, worth={"simclr": other})
