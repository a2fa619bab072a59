"""Which objects overlap, and what holds for every metric of objects."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.transfer.metrics import per_class, score
from raysweep.transfer.metrics.objects import overlap
from tests.transfer.metrics.tables import OBJECTS, object_score, random_objects, random_segmented, with_objects


def test_areas_and_shared_pixels() -> None:
    truth = np.array([[7, 7, 0, 2], [7, 7, 0, 2]])
    guess = np.array([[9, 0, 0, 0], [9, 9, 9, 4]])
    found = overlap(guess, truth)
    assert found.truth.tolist() == [2, 4]  # of 2 and 7
    assert found.predicted.tolist() == [1, 4]  # of 4 and 9
    assert found.pairs.tolist() == [[0, 0], [1, 1]]
    assert found.shared.tolist() == [1, 3]
    assert found.unions.tolist() == [2, 5]
    assert found.ious.tolist() == [0.5, 0.6]


def test_the_best_partner_is_the_first_of_equals() -> None:
    found = overlap(np.array([[1, 2, 3, 3]]), np.array([[5, 5, 5, 5]]))
    assert found.pairs[found.best(0, found.shared)].tolist() == [[0, 2]]
    assert found.pairs[found.best(0, np.ones(3))].tolist() == [[0, 0]]
    assert found.pairs[found.best(1, found.shared)].tolist() == [[0, 0], [0, 1], [0, 2]]


@pytest.mark.parametrize("name", OBJECTS)
def test_images_with_objects_in_only_one_or_neither(name: str) -> None:
    some, none = [[1, 1, 0, 2]], [[0, 0, 0, 0]]
    assert np.isnan(object_score(name, (none, none)))
    assert object_score(name, (some, none)) == object_score(name, (none, some)) == 0
    assert object_score(name, (some, some)) == object_score(name, (some, some), (none, none)) == 1
    assert object_score(name, (some, some), (none, some)) < 1


@pytest.mark.parametrize("name", OBJECTS)
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_counts_add_up_over_images_and_numbers_mean_nothing(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    (a, b), (c, d) = random_objects(rng, 2), random_objects(rng, 2)
    metric = OBJECTS[name]
    separate = metric.count(overlap(c, a)) + metric.count(overlap(d, b))
    beside = overlap(np.hstack([c, np.where(d > 0, d + 10, 0)]), np.hstack([a, np.where(b > 0, b + 10, 0)]))
    assert metric.count(beside) == pytest.approx(separate)
    assert metric.count(overlap(c * 3, a * 5)) == pytest.approx(metric.count(overlap(c, a)))


def test_per_class_is_the_foregrounds() -> None:
    rng = np.random.default_rng(0)
    for classes in (2, 3):
        table = with_objects(random_segmented(0, 4, classes)[2], random_objects(rng, 4), random_objects(rng, 4))
        for name in OBJECTS:
            value = score(table, name, "segmentation")
            expected = [np.nan, value] if classes == 2 else [np.nan] * 3
            assert per_class(table, "segmentation", name) == pytest.approx(expected, nan_ok=True)
