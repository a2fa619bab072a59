from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from raysweep.randomness import generator
from raysweep.report.crossed import crossed
from raysweep.report.intervals import Contrast
from raysweep.report.single_step import MOST_JOINT, Family, correlation

UNITS = tuple(f"u{i}" for i in range(40))


def contrast(x: np.ndarray, repeats=None) -> Contrast:
    """Of unit values (S, n)."""
    n = x.shape[1]
    over = (UNITS[:n], repeats or tuple(range(len(x))))
    return Contrast(x.mean(1), (x.sum(1, keepdims=True) - x) / (n - 1), (), over)


def cells(m: int, runs: int = 5, shared: float = 1.0) -> list[Contrast]:
    rng = generator("cells", m)
    base = shared * rng.normal(size=(runs, 40))
    return [contrast(rng.normal(size=(runs, 40)) - base) for _ in range(m)]


def test_one_contrast_is_not_corrected():
    family = Family(cells(1))
    assert (family.corrected(0.03), family.level(0.05)) == (0.03, 0.05)


def test_equal_contrasts_cost_little_and_strangers_cost_what_sidak_says():
    one = cells(1)[0]
    assert Family([one] * 6).corrected(0.01) == pytest.approx(0.01, abs=0.002)  # runs add nothing
    moved = replace(one, values=20 * one.values)
    assert 0.02 < Family([moved] * 6).corrected(0.01) < 0.05  # runs are all: 5 of them show their correlation poorly
    apart = [contrast(x.without * 0 + generator("apart", i).normal(size=(5, 40)), (i,)) for i, x in enumerate(cells(6))]
    assert Family(apart).corrected(0.01) == pytest.approx(1 - 0.99**6, abs=0.003)
    assert Family([one, None, None]).corrected(0.01) == pytest.approx(1 - 0.99**3, abs=0.003)


def test_a_common_baseline_is_dunnett():
    """Two-sided many-to-one comparisons with known variance and correlation 1/2."""
    joint = correlation(cells(5))
    assert joint[~np.eye(5, dtype=bool)].mean() == pytest.approx(0.5, abs=0.2)
    family = Family(cells(5))
    z = stats.norm.isf(family.level(0.05) / 2)
    exact = stats.multivariate_normal(np.zeros(5), joint, seed=0)
    assert exact.cdf(np.full(5, z), lower_limit=np.full(5, -z)) == pytest.approx(0.95, abs=0.004)


def test_level_and_corrected_p_agree_and_lie_between_nothing_and_bonferroni():
    family = Family(cells(8))
    level = family.level(0.05)
    assert 0.05 / 8 < level < 0.05
    for p in (1e-9, 1e-4, 0.5 * level, 0.999 * level, 1.01 * level, 0.2, 1.0):
        assert p <= family.corrected(p) <= min(1, 8 * p)
        assert (family.corrected(p) < 0.05) == (p <= level)
    assert Family(cells(8)).level(0.05) == level  # equal input, equal output


def test_one_sided_contrasts_cost_less_when_they_go_together():
    both = cells(4, shared=3.0)
    assert Family(both, one_sided=True).corrected(0.02) < Family(cells(4, shared=0.0), one_sided=True).corrected(0.02)


def test_very_many_contrasts_use_sidak_alone():
    found = Family([cells(1)[0]] * (MOST_JOINT + 1))
    assert found.corrected(1e-4) == pytest.approx(1 - (1 - 1e-4) ** (MOST_JOINT + 1))
    assert found.level(0.05) == pytest.approx(1 - 0.95 ** (1 / (MOST_JOINT + 1)), rel=1e-6)


def test_correlation_is_one_with_itself_and_reaches_over_fractions():
    rng = generator("fractions")
    units = rng.normal(size=(1, 40))
    near = [contrast(units + 0.3 * rng.normal(size=(3, 40))) for _ in range(3)]
    joint = correlation(near)
    assert (joint[~np.eye(3, dtype=bool)] > 0.8).all()
    assert np.linalg.eigvalsh(joint).min() > -1e-9
    assert crossed(near[0].values, near[0].without).df > 0


def test_false_positives_of_a_family_of_correlated_contrasts():
    """A baseline, three checkpoints at four fractions and their means, nothing true: 5 % of families at most."""
    rng, hits, studies = generator("familywise"), 0, 150
    for _ in range(studies):
        units = 0.8 * rng.normal(size=(4, 1, 1, 15)) + 0.6 * rng.normal(size=(4, 4, 1, 15))
        x = units + rng.normal(size=(4, 4, 5, 1)) / np.sqrt(15) + rng.normal(size=(4, 4, 5, 15))
        d = x[1:] - x[:1]
        all_of = [contrast(one) for one in np.concatenate([d, d.mean(1, keepdims=True)], axis=1).reshape(-1, 5, 15)]
        smallest = min(crossed(c.values, c.without).p() for c in all_of)
        hits += smallest < 0.05 and Family(all_of).corrected(smallest) < 0.05
    assert hits <= 16  # 7.5 expected at most, standard deviation 2.7


def test_what_is_left_to_rounding_decides_nothing():
    """Independent groups of contrasts: their axes may be turned at will, as another order of units does."""
    rng = np.random.default_rng(0)
    first, second = (rng.normal(size=(2, 4, 12)) for _ in range(2))
    units, others = tuple("abcdefghijkl"), tuple("mnopqrstuvwx")

    def corrected(order):
        made = [Contrast(part.mean(-1), part[:, order], (np.arange(4),), (names, (0, 1, 2, 3)))
                for group, names in ((first, units), (second, others)) for part in group]  # fmt: skip
        family = Family([*made, None, None])
        return [family.corrected(p) for p in (0.001, 0.004, 0.01, 0.03, 0.2)]

    assert corrected(np.arange(12)) == pytest.approx(corrected(rng.permutation(12)), abs=1e-9)
