"""Label fractions: nested, stratified, spread over units, with val inside."""

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.errors import RequestError
from raysweep.randomness import stable_hash
from raysweep.tasks.fractions import UNITS_FOR_VAL, Draws, draw_fraction, part_of
from raysweep.tasks.partition import partition
from raysweep.tasks.sample import Sample
from raysweep.tasks.splits import Fold, folds
from raysweep.tasks.task import Task

PLAIN = {"fraction": 1.0, "fraction_of": "images", "val": 0.2, "draw": 0, "seed": 0}


def drawn(task, fold, **keys):
    return draw_fraction(task, fold, **{**PLAIN, **keys})


def whole(task):
    return Fold(0, list(range(len(task.samples))), None, [])


def pool(draw):
    return set(draw.train) | set(draw.val)


rows = st.lists(st.tuples(st.integers(0, 14), st.integers(0, 2)), min_size=40, max_size=120)


@settings(max_examples=25, deadline=None)
@given(
    rows, st.sampled_from(["images", "units"]), st.integers(0, 3), st.integers(0, 3), st.sampled_from([0.1, 0.2, 0.5])
)
def test_draws_are_nested_with_val_inside_and_no_test_unit(make_task, pairs, of, draw, seed, val):
    both = [(f"p{u}", c) for u, c in pairs] + [(f"q{n}", n % 3) for n in range(12)]
    task = make_task(both, splits={"type": "folds", "k": 3})
    fold = folds(task, seed)[seed % 3]
    before: set[int] = set()
    for fraction in (0.05, 0.1, 0.25, 0.5, 0.75, 1.0):
        try:
            got = drawn(task, fold, fraction=fraction, fraction_of=of, val=val, draw=draw, seed=seed)
        except RequestError:  # too little for every class and val
            assert fraction < 0.5
            continue
        now = pool(got)
        assert before <= now <= set(fold.train)
        assert not set(got.train) & set(got.val)
        assert got.train == sorted(got.train)
        assert got.val
        assert got.n_images == len(now)
        assert got.n_units == len({task.samples[i].unit for i in now})
        assert got.n_val_units == len({task.samples[i].unit for i in got.val})
        assert {task.samples[i].label for i in got.train} == {0, 1, 2}
        assert got == drawn(task, fold, fraction=fraction, fraction_of=of, val=val, draw=draw, seed=seed)
        undivided = drawn(task, fold, fraction=fraction, fraction_of=of, val=0, draw=draw, seed=seed)
        assert (set(undivided.train), undivided.val) == (now, [])
        assert (undivided.n_images, undivided.n_units, undivided.n_val_units) == (got.n_images, got.n_units, 0)
        before = now
    assert before == set(fold.train), "all of it at fraction 1"


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5, 1.0])
def test_fractions_of_images_keep_the_proportions_of_classes(make_task, fraction):
    task = make_task([(f"p{i % 10}", int(i % 10 < 3)) for i in range(200)])
    got = drawn(task, whole(task), fraction=fraction)
    labels = Counter(task.samples[i].label for i in pool(got))
    assert got.n_images == 200 * fraction
    assert abs(labels[1] - 60 * fraction) <= 1


def test_images_are_spread_over_units_before_any_gives_a_second(make_task):
    task = make_task([(f"p{min(i // 4, 9)}", 0) for i in range(90)] + [(f"q{i // 9}", 1) for i in range(90)])
    for draw in range(5):
        got = drawn(task, whole(task), fraction=20 / 180, draw=draw)
        per_unit = Counter(task.samples[i].unit for i in pool(got))
        assert len(per_unit) == 20
        assert set(per_unit.values()) == {1}


def test_fractions_of_units_take_whole_units_and_first_of_all_every_class(make_task):
    task = make_task([(f"p{i % 20:02d}", int(i % 20 > 17)) for i in range(100)])  # 18 units of one class, 2 of another
    for draw in range(5):
        got = drawn(task, whole(task), fraction=0.1, fraction_of="units", draw=draw, val=0.1)
        units = {task.samples[i].unit for i in pool(got)}
        assert (got.n_units, len(units), got.n_images) == (2, 2, 10)
        assert {int(unit > "p17") for unit in units} == {0, 1}


@pytest.mark.parametrize("of", ["images", "units"])
def test_draws_and_folds_and_tasks_and_seeds_differ(make_task, of):
    task = make_task([(f"p{i % 30}", i % 2) for i in range(120)])
    fold = whole(task)
    renamed = Task(task.card.model_copy(update={"name": "other"}), task.root, task.samples)
    pools = [
        *(pool(drawn(task, fold, fraction=0.3, fraction_of=of, draw=draw)) for draw in range(4)),
        pool(drawn(task, fold, fraction=0.3, fraction_of=of, seed=1)),
        pool(drawn(task, replace(fold, index=1), fraction=0.3, fraction_of=of)),
        pool(drawn(renamed, fold, fraction=0.3, fraction_of=of)),
    ]
    assert len({frozenset(p) for p in pools}) == len(pools)


def test_val_is_whole_units_where_there_are_enough(make_task):
    task = make_task([(f"p{i % 10}", i % 2) for i in range(100)])
    got = drawn(task, whole(task))
    train, val = ({task.samples[i].unit for i in part} for part in (got.train, got.val))
    assert not train & val
    assert len(got.val) == 20


def test_val_is_images_where_units_are_few_or_hold_a_class_alone(make_task):
    few = make_task([(f"p{i % (UNITS_FOR_VAL - 1)}", i % 2) for i in range(40)])
    got = drawn(few, whole(few))
    assert {few.samples[i].unit for i in got.train} == {"p0", "p1", "p2", "p3"}
    assert Counter(few.samples[i].label for i in got.val) == {0: 4, 1: 4}
    alone = make_task([(f"p{i % 6}", 0) for i in range(30)] + [("q", 1)] * 10)
    got = drawn(alone, whole(alone), val=0.5)
    assert Counter(alone.samples[i].label for i in got.train)[1] > 0


def test_a_class_with_one_image_keeps_it_for_training(make_task):
    task = make_task([("p", 0)] * 9 + [("p", 1)])
    got = drawn(task, whole(task), val=0.5)
    assert 9 in got.train
    assert len(got.val) == 5


def test_a_given_val_split_is_drawn_at_the_same_fraction(make_card):
    parts = ["train"] * 40 + ["val"] * 20 + ["test"] * 4
    samples = [Sample(f"{i}", f"{i}", None, i % 2, f"p{i}", split) for i, split in enumerate(parts)]
    task = Task(make_card(splits={"type": "given"}), None, samples)
    (fold,) = folds(task, 0)
    half, full = drawn(task, fold, fraction=0.5), drawn(task, fold)
    assert (len(half.train), len(half.val), half.n_images) == (20, 10, 30)
    assert set(half.val) < set(full.val) == set(fold.val)
    assert set(half.train) < set(full.train) == set(fold.train)


def test_a_fraction_that_leaves_a_class_empty_is_one_sentence(make_task):
    task = make_task([(f"p{i}", int(i < 2)) for i in range(100)])
    with pytest.raises(RequestError) as caught:
        drawn(task, whole(task), fraction=0.05)
    said = str(caught.value)
    assert said.startswith("fractions: 0.05 of task toy leaves class class1 without an example to train on")
    assert "\n" not in said


def test_a_fraction_too_small_for_val_is_refused(make_task):
    task = make_task([("p", 0), ("p", 1)] * 10)
    with pytest.raises(RequestError, match=r"fractions: 0\.1 of task toy is 2 images, which leaves none for val"):
        drawn(task, whole(task), fraction=0.1)


def test_segmentation_classes_count_by_what_masks_show(make_task):
    task = make_task([(f"p{i}", (0, 1) if i % 4 == 0 else (0,)) for i in range(80)], kind="segmentation")
    got = drawn(task, whole(task), fraction=0.25)
    assert sum(1 in task.samples[i].classes for i in pool(got)) == 5
    with pytest.raises(RequestError, match="without an example"):
        drawn(task, whole(task), fraction=0.01)


def test_without_val_a_given_val_split_is_for_training_too(make_task):
    task = make_task([(f"p{n}", n % 2) for n in range(20)])
    fold = Fold(0, list(range(12)), list(range(12, 16)), list(range(16, 20)))
    apart, together = drawn(task, fold, fraction=0.5), drawn(task, fold, fraction=0.5, val=0)
    assert apart.val
    assert (together.train, together.val) == (sorted(apart.train + apart.val), [])
    assert together.n_images == apart.n_images == 8


def test_a_part_keeps_classes_in_proportion_and_as_many_units_as_can_be(make_task):
    task = make_task([(f"p{n % 20}", int(n % 20 >= 15)) for n in range(400)])
    among = [n for n in range(400) if n % 2 == 0 or n % 20 == 15]
    part = part_of(task, among, 40, seed=3)
    assert part == sorted(set(part))
    assert set(part) <= set(among)
    share = sum(task.samples[n].label for n in among) / len(among)
    assert sum(task.samples[n].label for n in part) == pytest.approx(40 * share, abs=1)
    assert {task.samples[n].unit for n in part} == {task.samples[n].unit for n in among}
    assert part == part_of(task, among, 40, seed=3) != part_of(task, among, 40, seed=4)
    assert part_of(task, among, len(among), seed=3) == among


class Plain:
    """The same draws, as plainly as can be: sorts of tuples, one sample at a time."""

    def __init__(self, task, fold, *, fraction_of, val, draw, seed):
        self.task, self.fold, self.of, self.val, self.draw, self.seed = task, fold, fraction_of, val, draw, seed

    def at(self, fraction):
        stream = (self.seed, "fraction", "toy", self.fold.index, self.draw, "train")
        if self.of == "images":
            order = self.image_order(self.fold.train, stream)
            pool = order[: self.count(fraction, len(order))]
        else:
            units = self.unit_order(self.fold.train, stream)
            kept = units[: self.count(fraction, len(units))]
            pool = [i for i in self.fold.train if self.task.samples[i].unit in kept]
        return self.carve(pool, (self.seed, "val", "toy", self.fold.index, self.draw))

    @staticmethod
    def count(fraction, of):
        return min(of, max(1, int(fraction * of + 0.5)))

    def counts(self, indices):
        counts = {}
        for index in indices:
            sample = self.task.samples[index]
            row = counts.setdefault(sample.unit, np.zeros(len(self.task.card.classes) + 1, dtype=int))
            row[[*sample.classes, -1]] += 1
        return counts

    def image_order(self, part, stream):
        strata = defaultdict(lambda: defaultdict(list))
        for index in part:
            sample = self.task.samples[index]
            strata[sample.classes][sample.unit].append((stable_hash(*stream, "image", sample.id), index))
        placed = []
        for stratum, units in strata.items():
            turns = sorted(
                (turn, stable_hash(*stream, "unit", unit), unit, index)
                for unit, images in units.items()
                for turn, (_, index) in enumerate(sorted(images))
            )
            tie = stable_hash(*stream, "tie", repr(stratum))
            placed += [((rank + 0.5) / len(turns), tie, index) for rank, (*_, index) in enumerate(turns)]
        return [index for *_, index in sorted(placed)]

    def unit_order(self, part, stream):
        counts = self.counts(part)
        waiting = sorted(counts, key=lambda unit: (stable_hash(*stream, "unit", unit), unit))
        total = sum(counts.values())
        target = total[:-1] / total[-1]
        held, order = np.zeros_like(total), []
        while waiting:
            lacking = [c for c in range(len(target)) if target[c] > 0 and held[c] == 0]
            among = waiting[: 3 if order else 1]
            if order and lacking:
                among = [unit for unit in waiting if any(counts[unit][c] for c in lacking)]

            def gap(unit, held=held):
                after = held + counts[unit]
                return ((after[:-1] / after[-1] - target) ** 2 / np.maximum(target, 1e-12)).sum()

            chosen = min(among, key=gap)
            waiting.remove(chosen)
            held = held + counts[chosen]
            order.append(chosen)
        return order

    def carve(self, pool, stream):
        counts = self.counts(pool)
        shown = {c for i in pool for c in self.task.samples[i].classes}
        if len(counts) >= UNITS_FOR_VAL and self.task.card.unit != "image":
            order = sorted(counts, key=lambda unit: (stable_hash(*stream, unit), unit))
            dealt = partition(np.stack([counts[unit] for unit in order]), [1 - self.val, self.val])
            held = {unit for unit, group in zip(order, dealt, strict=True) if group == 1}
            train = [i for i in pool if self.task.samples[i].unit not in held]
            if held and shown == {c for i in train for c in self.task.samples[i].classes}:
                return sorted(train), sorted(set(pool) - set(train))
        left = Counter(c for i in pool for c in self.task.samples[i].classes)
        held = []
        for index in self.image_order(pool, stream):
            classes = self.task.samples[index].classes
            if len(held) < min(self.count(self.val, len(pool)), len(pool) - 1) and all(left[c] > 1 for c in classes):
                held.append(index)
                left.subtract(classes)
        return sorted(set(pool) - set(held)), sorted(held)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 14), st.sets(st.integers(0, 2))), min_size=3, max_size=60),
    st.sampled_from(["images", "units"]), st.sampled_from(["patient", "image"]), st.booleans(),
    st.integers(0, 3), st.sampled_from([0.1, 0.2, 0.5]),
)  # fmt: skip
def test_draws_are_those_of_a_plain_reading_of_the_rule(make_task, pairs, of, unit, labels, seed, val):
    what = [
        (f"p{u}" if unit == "patient" else f"{n}", len(c) % 3 if labels else sorted(c))
        for n, (u, c) in enumerate(pairs)
    ]
    task = make_task(what, kind="classification" if labels else "segmentation", unit=unit,
                     classes=["none", "some", "more"])  # fmt: skip
    fold = Fold(2, [i for i in range(len(pairs)) if i % 5], None, [])
    keys = {"fraction_of": of, "draw": 1, "seed": seed}
    draws, plain = Draws(task, fold, **keys), Plain(task, fold, val=val, **keys)
    for fraction in (0.1, 0.34, 0.5, 1.0):
        try:
            got = draws.at(fraction, val)
        except RequestError:  # what is refused is tested above
            continue
        assert (got.train, got.val) == plain.at(fraction)
