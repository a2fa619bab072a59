"""The shipped GlaS cards on the real data."""

from collections import Counter

import numpy as np
import pytest

from raysweep.tasks.cards import load_card
from raysweep.tasks.fractions import draw_fraction
from raysweep.tasks.read import read_sample
from raysweep.tasks.splits import folds
from raysweep.tasks.task import index_task


@pytest.fixture(scope="module")
def grade(test_data):
    return index_task(load_card("glas-grade", []), test_data)


@pytest.fixture(scope="module")
def glands(test_data):
    return index_task(load_card("glas-glands", []), test_data)


def test_both_cards_see_the_same_165_images_of_16_patients(grade, glands):
    for task in (grade, glands):
        assert (len(task.samples), task.excluded) == (165, [])
        assert len({s.unit for s in task.samples}) == 16
    assert {s.image: s.unit for s in grade.samples} == {s.image: s.unit for s in glands.samples}
    assert Counter(s.label for s in grade.samples) == {0: 74, 1: 91}
    assert all(1 in s.present for s in glands.samples)


@pytest.mark.parametrize("seed", range(5))
def test_every_patient_is_tested_once_with_both_grades_on_both_sides(grade, seed):
    made = folds(grade, seed)
    assert sorted(i for fold in made for i in fold.test) == list(range(165))
    tested = [{grade.samples[i].unit for i in fold.test} for fold in made]
    assert sum(map(len, tested)) == 16
    for fold in made:
        assert {grade.samples[i].label for i in fold.train} == {0, 1}
        counts = Counter(grade.samples[i].label for i in fold.test)
        assert 14 <= counts[0] <= 23
        assert 18 <= counts[1] <= 28
    sizes = [len(fold.test) for fold in made]
    assert max(sizes) - min(sizes) <= 8


@pytest.mark.parametrize("fraction", [0.1, 0.5, 1.0])
def test_fractions_of_glas_hold_out_whole_patients_of_both_grades(grade, fraction):
    for fold in folds(grade, 0):
        for draw in range(3):
            got = draw_fraction(grade, fold, fraction=fraction, fraction_of="images", val=0.2, draw=draw, seed=0)
            train, val = ({grade.samples[i].unit for i in part} for part in (got.train, got.val))
            assert not train & val
            assert {grade.samples[i].label for i in got.val} == {0, 1}
            assert abs(len(got.val) / got.n_images - 0.2) < 0.08


def test_pixels_come_at_the_scale_of_the_card(glands):
    index = next(i for i, s in enumerate(glands.samples) if s.id == "images/train_1.png")
    image, mask = read_sample(glands, index)
    assert image.shape == (209, 310, 3)
    assert mask.shape == (209, 310)
    assert set(np.unique(mask)) == {0, 1}
    assert abs(mask.mean() - 0.4267) < 0.005  # gland_fraction in the set's own table
