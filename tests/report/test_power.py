import numpy as np
import pytest
from scipy import stats

from raysweep.report.crossed import crossed
from raysweep.report.power import ASSUMED, Components, earlier_components, power_of
from raysweep.report.write import write_report

from .fake_study import make_study

STUDY = {"alpha": 0.05, "margin": 0.02, "comparisons": 1, "curves": 1}


def test_units_alone_give_the_power_of_a_paired_t_test():
    """Against the noncentral t: the sum of two quantiles is that power to a few parts in a hundred."""
    n, sd = 20, 0.2
    found = power_of(Components(0.0, sd, 0.0, ""), n_units=n, n_repeats=10, **STUDY)
    shift, edge = found.smallest / (sd / n**0.5), stats.t.ppf(0.975, n - 1)
    power = stats.nct.sf(edge, n - 1, shift) + stats.nct.cdf(-edge, n - 1, shift)
    assert power == pytest.approx(0.8, abs=0.03)


def test_a_simulated_study_finds_that_difference_in_80_percent():
    parts, n, s = Components(0.03, 0.15, 0.2, ""), 16, 6
    found = power_of(parts, n_units=n, n_repeats=s, **STUDY)
    rng = np.random.default_rng(0)
    hits = equal = 0
    for _ in range(1500):
        scores = rng.normal(0, parts.unit, n) + rng.normal(0, parts.seed, (s, 1)) + rng.normal(0, parts.rest, (s, n))
        leave = (scores.sum(1, keepdims=True) - scores) / (n - 1)
        own = crossed(scores.mean(1) + found.smallest, leave + found.smallest)
        hits += own.p() < 0.05
        equal += crossed(scores.mean(1), leave).p_equal(found.equal) < 0.05
    assert hits / 1500 == pytest.approx(0.8, abs=0.06)
    assert equal / 1500 == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize("kind", list(ASSUMED))
def test_more_of_anything_finds_smaller_differences(kind):
    def smallest(units, repeats, comparisons=1):
        given = STUDY | {"comparisons": comparisons}
        return power_of(ASSUMED[kind], n_units=units, n_repeats=repeats, **given).smallest

    assert smallest(16, 5) > smallest(32, 5) > smallest(32, 10)
    assert smallest(16, 5, 12) > smallest(16, 5)
    assert "assumed" in ASSUMED[kind].source


def test_where_repeats_differ_too_much_more_units_do_not_help():
    def first(seed):
        return power_of(Components(seed, 0.1, 0.1, ""), n_units=16, n_repeats=4, **STUDY).repeats_first

    assert first(0.1)
    assert not first(0.01)


def test_components_of_a_report_give_back_its_standard_errors(tmp_path):
    study = make_study(tmp_path, fractions=(1.0,), skills={"imagenet": 0.9, "simclr": 1.2}, tasks=("tissue",),
                       protocols=("finetune", "linear"))  # fmt: skip
    assert earlier_components(study.folder, "tissue", "balanced_accuracy") is None
    report = write_report(**vars(study))
    found = earlier_components(study.folder, "tissue", "balanced_accuracy")
    assert found.source == "measured in 1 comparison of the report that is there"
    row = next(line for line in report.read_bytes("tables", "differences.csv").decode().splitlines()
               if ",finetune,1,simclr," in line).split(",")  # fmt: skip
    header = report.read_bytes("tables", "differences.csv").decode().splitlines()[0].split(",")
    told = dict(zip(header, row, strict=True))
    assert (found.seed, found.unit) == pytest.approx((float(told["seed sd"]), float(told["unit sd"])))
    again = power_of(found, n_units=24, n_repeats=3, **STUDY)
    assert again.smallest == pytest.approx(float(told["smallest detectable"]), rel=0.15)
    assert earlier_components(study.folder, "tissue", "auroc") is None
