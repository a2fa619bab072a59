import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.transfer.cross_validation import FOLDS, divide


def divided(labels, units, seed=0):
    return divide(np.array(labels), np.array(units), unit="patient", seed=seed)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=2, max_size=60), st.integers(0, 2**40))
@settings(max_examples=150, deadline=None)
def test_no_unit_is_on_both_sides_and_every_part_fits_every_class(rows, seed) -> None:
    labels, units = (np.array(column) for column in zip(*rows, strict=True))
    division = divided(labels, units, seed)
    fewest = min(len(set(units[labels == c])) for c in set(labels))
    images = np.unique(labels, return_counts=True)[1].min()
    if images < 2:
        assert division.parts == []
        assert division.by.startswith("default: a class has one image")
        return
    assert 2 <= len(division.parts) <= FOLDS
    assert sorted(np.concatenate([held for _, held in division.parts])) == list(range(len(rows)))
    for fit, held in division.parts:
        assert sorted([*fit, *held]) == list(range(len(rows)))
        assert set(labels[fit]) == set(labels)
        if "by patient" in division.by:
            assert not set(units[fit]) & set(units[held])
    if fewest < 2:
        assert "by image" in division.by


def test_the_words_say_what_was_divided_and_into_how_many() -> None:
    patients = np.repeat(np.arange(8), 3)
    assert divided(patients % 2, patients).by == "cross-validation by patient, 4 folds"
    assert divided([0, 1] * 10, range(20)).by == "cross-validation by image, 5 folds"
    assert divided([0] * 6 + [1] * 3, [0, 0, 1, 1, 2, 2, 3, 3, 3]).by == (
        "cross-validation by image, 3 folds; a class is in one patient alone"
    )


def test_fewer_units_of_a_class_are_fewer_parts() -> None:
    units = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
    labels = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1]
    division = divided(labels, units)
    assert len(division.parts) == 2
    assert all(len(set(np.array(units)[held]) & {5, 6}) == 1 for _, held in division.parts)


@pytest.mark.parametrize("units", [np.arange(40) // 2, np.arange(40)])
def test_a_function_of_the_seed(units) -> None:
    labels = np.arange(40) // 2 % 2

    def held(seed):
        return [part[1].tolist() for part in divided(labels, units, seed).parts]

    assert held(3) == held(3)
    assert held(3) != held(4)
