"""Held to scipy, statsmodels and published tables."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from raysweep.randomness import generator
from raysweep.report.critical_difference import critical_difference
from raysweep.report.over_tasks import _nemenyi, over_tasks
from raysweep.report.style import marks

from .test_two_sd import FEATURES, FINETUNED

TASKS = ["BoneMarrow", "MouseLba", "HumanLba", "Lung", "Necrosis", "ProlifPattern", "CellInclusion", "Glomeruli",
         "Breast2", "Breast1"]  # fmt: skip


def published() -> dict[str, dict[str, float]]:
    """Mormont et al. 2021: four ways to transfer, mean of two networks on each of ten tasks."""
    values: dict[str, dict[str, float]] = {}
    for i, task in enumerate(TASKS):
        for way, table in (("features", FEATURES), ("finetuned", FINETUNED)):
            for source, column in (("imagenet", 0), ("multi-task", 2)):
                both = [table[i][column], table[i + 10][column]]
                values.setdefault(task, {})[f"{source} {way}"] = float(np.mean(both))
    return values


def test_published_values_are_ranked_and_tested_as_scipy_and_statsmodels_do():
    values = published()
    found = over_tasks(values, {}, alpha=0.05)
    assert found is not None
    table = np.array([[values[t][n] for n in found.names] for t in TASKS])
    assert found.mean_ranks == pytest.approx(stats.rankdata(-table, axis=1).mean(0))
    assert list(found.mean_ranks) == sorted(found.mean_ranks)
    assert found.friedman == pytest.approx(stats.friedmanchisquare(*table.T).pvalue)
    assert found.friedman == pytest.approx(0.0115, abs=1e-4)
    k = len(found.names)
    raw = [stats.wilcoxon(table[:, a], table[:, b]).pvalue for a in range(k) for b in range(a + 1, k)]
    assert [p for *_, p, _ in found.pairs] == pytest.approx(raw)
    holm = multipletests(raw, method="holm")[1]
    assert [q for *_, q in found.pairs] == pytest.approx(np.maximum(holm, found.friedman))


def test_what_fine_tuning_cancels_is_no_pair_and_features_are_one():
    """Their conclusion: multi-task features beat those of ImageNet, and fine-tuning closes the gap."""
    found = over_tasks(published(), {}, alpha=0.05)
    assert found is not None
    raw = {(a, b): p for a, b, p, _ in found.pairs}
    assert raw["multi-task features", "imagenet features"] < 0.05
    tuned = [p for pair, p in raw.items() if set(pair) == {"imagenet finetuned", "multi-task finetuned"}]
    assert tuned[0] > 0.05
    assert found.groups == ((0, 3),), "six pairs are too many for ten tasks after Holm"
    assert set(found.names[:2]) == {"imagenet finetuned", "multi-task finetuned"}


def simulated(n: int, *, gap: float = 0.0) -> dict[str, dict[str, float]]:
    rng = generator("over tasks", n)
    return {f"t{i}": {name: 0.7 + gap * k + 0.02 * rng.normal() for k, name in enumerate("abc")} for i in range(n)}


def test_five_tasks_are_ranked_and_not_tested():
    found = over_tasks(simulated(5, gap=0.2), {}, alpha=0.05)
    assert found is not None
    assert found.names == ("c", "b", "a")
    assert (found.friedman, found.pairs, found.groups) == (None, (), ())
    six = over_tasks(simulated(6, gap=0.2), {}, alpha=0.05)
    assert six is not None
    assert len(six.pairs) == 3


def test_tasks_of_one_data_set_are_one_witness():
    values = simulated(9, gap=0.2)
    ours = over_tasks(values, {f"t{i}": "breakhis" for i in range(4)}, alpha=0.05)
    assert ours is not None
    assert ours.blocks == (("t0", "t1", "t2", "t3"), *((f"t{i}",) for i in range(4, 9)))
    assert len(ours.pairs) == 3
    alone = over_tasks({t: v for t, v in values.items() if t >= "t3"}, {}, alpha=0.05)
    assert alone is not None
    assert ours.mean_ranks == pytest.approx(alone.mean_ranks)
    five = over_tasks(values, {f"t{i}": "breakhis" for i in range(5)}, alpha=0.05)
    assert five is not None
    assert five.pairs == ()


def test_equals_share_ranks_and_what_lacks_a_value_is_left_out():
    values = {"x": {"a": 0.5, "b": 0.5, "c": 0.4}, "y": {"a": 0.9, "b": 0.8, "c": 0.7}, "z": {"a": 0.9}}
    found = over_tasks(values, {}, alpha=0.05)
    assert found is not None
    assert found.ranks.tolist() == [[1.5, 1.5, 3], [1, 2, 3]]
    assert found.left_out == ("z",)
    assert over_tasks({"x": {"a": 1.0, "b": 0.5}}, {}, alpha=0.05) is None
    same = over_tasks({f"t{i}": {"a": 0.5, "b": 0.5} for i in range(7)}, {}, alpha=0.05)
    assert same is not None
    assert same.pairs == (("a", "b", 1.0, 1.0),)


def test_neighbours_that_do_not_differ_are_joined_by_a_bar():
    found = over_tasks(published(), {}, alpha=0.05)
    assert found is not None
    svg = critical_difference(found.names, found.mean_ranks, found.groups, marks(list(found.names)))
    assert svg == critical_difference(found.names, found.mean_ranks, found.groups, marks(list(found.names)))
    for name, rank in zip(found.names, found.mean_ranks, strict=True):
        assert f"{rank:.2f}</text>" in svg
        assert name[:8] in svg
    none = critical_difference(found.names, found.mean_ranks, (), marks(list(found.names)))
    assert svg.count("stroke-width: 3.5") == len(found.groups) > none.count("stroke-width: 3.5") == 0


def test_nemenyi_is_that_of_the_published_example():
    """Demsar 2006, sec. 3.2: mean ranks 3.143, 2.000, 2.893, 1.964 over 14 data sets, critical difference 1.25 at
    5 % (q 2.569) and 1.12 at 10 % (q 2.291)."""
    names, ranks = tuple("abcd"), np.array([1.964, 2.0, 2.893, 3.143])
    p = {(a, b): q for a, b, _, q in _nemenyi(names, ranks, 14)}
    assert 0.05 < p["a", "d"] < 0.1
    assert p["a", "b"] > 0.9
    for gap, level in ((1.2536, 0.05), (1.1178, 0.1)):
        q = _nemenyi(names, np.array([1.0, 1.0 + gap, 9, 9]), 14)[0][3]
        assert q == pytest.approx(level, rel=0.01)
    found = over_tasks(published(), {}, alpha=0.05, nemenyi=True)
    assert found is not None
    assert all(raw == corrected for _, _, raw, corrected in found.pairs)
