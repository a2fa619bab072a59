"""Folds: every unit tested once, none on both sides, classes on both sides where units allow."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.errors import RequestError
from raysweep.tasks.sample import Sample
from raysweep.tasks.splits import folds
from raysweep.tasks.task import Task

FOLDS = {"type": "folds", "k": 4}


def units_of(task, indices):
    return {task.samples[i].unit for i in indices}


def classes_of(task, indices):
    return {c for i in indices for c in task.samples[i].classes}


rows = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 1)), min_size=30, max_size=80)


@settings(max_examples=40, deadline=None)
@given(rows, st.integers(0, 5))
def test_k_folds_test_every_unit_exactly_once(make_task, pairs, seed):
    both = [(f"p{u}", c) for u, c in pairs] + [(f"q{n}", n % 2) for n in range(8)]  # enough units of each class
    task = make_task(both, splits=FOLDS)
    made = folds(task, seed)
    assert sorted(i for fold in made for i in fold.test) == list(range(len(both)))
    for fold in made:
        assert sorted(fold.train + fold.test) == list(range(len(both)))
        assert not units_of(task, fold.train) & units_of(task, fold.test)
        assert classes_of(task, fold.train) == classes_of(task, fold.test) == {0, 1}
        assert fold.val is None
    assert [fold.index for fold in made] == [0, 1, 2, 3]


def test_holdout_takes_its_part_of_every_class(make_task):
    task = make_task([(f"p{i}", i % 5 == 0) for i in range(100)], splits={"type": "holdout", "test": 0.25})
    (fold,) = folds(task, 0)
    assert Counter(task.samples[i].label for i in fold.test) == {0: 20, 1: 5}
    assert not units_of(task, fold.train) & units_of(task, fold.test)


def test_seeds_differ_and_the_order_of_samples_does_not_matter(make_task):
    task = make_task([(f"p{i % 20}", i % 2) for i in range(60)])
    first = {task.samples[i].id for i in folds(task, 0)[0].test}
    assert len({tuple(folds(task, seed)[0].test) for seed in range(5)}) > 1
    turned = Task(task.card, task.root, task.samples[::-1])
    assert {turned.samples[i].id for i in folds(turned, 0)[0].test} == first


def test_given_splits_are_taken_as_they_are(make_card):
    parts = ["train", "train", "val", "test", "train", "test"]
    samples = [Sample(f"{i}", f"{i}", None, i % 2, f"p{i}", split) for i, split in enumerate(parts)]
    card = make_card(splits={"type": "given"})
    (fold,) = folds(Task(card, None, samples), 0)
    assert (fold.index, fold.train, fold.val, fold.test) == (0, [0, 1, 4], [2], [3, 5])
    without = [s for s in samples if s.split != "val"]
    assert folds(Task(card, None, without), 0)[0].val is None


def test_a_class_in_one_unit_cannot_be_folded(make_task):
    pairs = [(f"p{i % 8}", 0) for i in range(16)] + [("q", 1)] * 4
    with pytest.raises(RequestError, match="has no image of class class1 to train on: it occurs in 1 patient only"):
        folds(make_task(pairs, splits=FOLDS), 0)
    (fold,) = folds(make_task(pairs, splits={"type": "holdout"}), 0)
    assert fold.train, "a holdout keeps it in train"


def test_fewer_units_than_folds_is_refused(make_task):
    with pytest.raises(RequestError, match="3 patients cannot be divided into 4 groups"):
        folds(make_task([("p", 0), ("q", 1), ("r", 0)], splits=FOLDS), 0)


def test_segmentation_spreads_the_classes_that_masks_show(make_task):
    pairs = [(f"p{i}", (0, 1) if i % 4 == 0 else (0,)) for i in range(32)]
    task = make_task(pairs, kind="segmentation", splits=FOLDS)
    for fold in folds(task, 0):
        assert sum(1 in task.samples[i].classes for i in fold.test) == 2


def test_shares_are_taken_from_every_class_and_rounded_up(make_task):
    sizes = {0: 40, 1: 120, 2: 7}
    pairs = [(f"{c}-{i}", c) for c, n in sizes.items() for i in range(n) for _ in range(2)]
    task = make_task(pairs, splits={"type": "shares", "shares": [0.97, 0.02, 0.01], "draws": 3})
    made = folds(task, 5)
    assert [fold.index for fold in made] == [0, 1, 2]
    held: list[str] = []
    for fold in made:
        parts = {name: units_of(task, getattr(fold, name)) for name in ("train", "val", "test")}
        assert Counter(unit[0] for unit in parts["val"]) == {"0": 1, "1": 3, "2": 1}  # ceil(0.8), ceil(2.4), ceil(0.14)
        assert Counter(unit[0] for unit in parts["test"]) == {"0": 1, "1": 2, "2": 1}
        assert sum(map(len, parts.values())) == len(set.union(*parts.values())) == 167
        assert len(fold.train) + len(fold.val) + len(fold.test) == len(pairs)
        held += parts["val"] | parts["test"]
    assert len(held) == len(set(held)), "no unit is held out twice"
    turned = Task(task.card, task.root, task.samples[::-1])
    again = folds(turned, 5)[1].test
    assert {turned.samples[i].id for i in again} == {task.samples[i].id for i in made[1].test}
    assert units_of(task, folds(task, 6)[0].test) != units_of(task, made[0].test)


def test_a_whole_share_is_not_rounded_up(make_task):
    pairs = [(f"{i}", i % 2) for i in range(200)]
    (fold,) = folds(make_task(pairs, splits={"type": "shares", "shares": [0.86, 0.07, 0.07]}), 0)  # 0.07 * 100 > 7
    assert (len(fold.val), len(fold.test)) == (14, 14)


def test_shares_that_leave_nothing_to_train_on_are_refused(make_task):
    pairs = [(f"a{i}", 0) for i in range(90)] + [(f"b{i}", 1) for i in range(5)]
    splits = {"type": "shares", "shares": [0.97, 0.02, 0.01], "draws": 3}
    with pytest.raises(RequestError, match=r"class class1 has 5 patients; 3 draws of 1 for val and 1 for test.*need 6"):
        folds(make_task(pairs, splits=splits), 0)
    with pytest.raises(RequestError, match="class class1 has 2 patients"):
        folds(make_task(pairs[:92], splits={**splits, "draws": 1}), 0)


def test_repeated_divisions_are_a_fold_each_and_overlap(make_card):
    sides = [("train", "test"), ("test", "test"), ("val", "train"), ("train", ""), ("train", "train"), ("", "train")]
    samples = [Sample(f"{i}", f"{i}", None, i % 2, f"p{i}", sides=side) for i, side in enumerate(sides)]
    card = make_card(splits={"type": "repeated", "file": "d.csv", "divisions": ["one", "two"]})
    first, second = folds(Task(card, None, samples), 0)
    assert (first.index, first.train, first.val, first.test) == (0, [0, 3, 4], [2], [1])
    assert (second.index, second.train, second.val, second.test) == (1, [2, 4, 5], None, [0, 1])


def test_sites_can_be_the_units(make_task):
    task = make_task([(f"s{i % 8}", i % 2) for i in range(40)], unit="site", splits=FOLDS)
    assert sorted(i for fold in folds(task, 0) for i in fold.test) == list(range(40))
    with pytest.raises(RequestError, match="2 sites cannot be divided into 4 groups"):
        folds(make_task([("s", 0), ("t", 1)], unit="site", splits=FOLDS), 0)
