"""Metrics of summed pixel counts against scikit-learn and torchmetrics."""

import numpy as np
import pytest
import sklearn.metrics as reference
import torch
import torchmetrics.functional.classification as tm
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.tasks.masks import IGNORED
from raysweep.transfer.metrics import per_class, score
from raysweep.transfer.metrics.pixels import count_pixels
from tests.transfer.metrics.tables import random_segmented, segmented

KIND = "segmentation"
ALL = [
    f"{start}{name}{end}" for name in ("dice", "iou") for start in ("", "macro_") for end in ("", "_with_background")
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("classes", [2, 4])
def test_they_are_those_of_the_libraries(seed: int, classes: int) -> None:
    masks, guesses, table = random_segmented(seed, classes=classes)
    m, g = masks.ravel(), guesses.ravel()
    for metric, function in (("dice", reference.f1_score), ("iou", reference.jaccard_score)):
        for end, labels in (("", list(range(1, classes))), ("_with_background", list(range(classes)))):
            for start, average in (("", "micro"), ("macro_", "macro")):
                expected = function(m, g, labels=labels, average=average)
                assert score(table, f"{start}{metric}{end}", KIND) == pytest.approx(expected)
                assert per_class(table, KIND, f"{start}{metric}{end}") == pytest.approx(function(m, g, average=None))
    assert score(table, "pixel_accuracy", KIND) == pytest.approx(reference.accuracy_score(m, g))
    assert score(table, "dice_with_background", KIND) == pytest.approx(reference.accuracy_score(m, g))
    assert score(table, "mean_pixel_accuracy", KIND) == pytest.approx(reference.balanced_accuracy_score(m, g))
    recall = reference.recall_score(m, g, average=None)
    assert per_class(table, KIND, "mean_pixel_accuracy") == pytest.approx(recall)
    jaccard = tm.multiclass_jaccard_index(torch.tensor(g), torch.tensor(m), classes, average="none")
    assert per_class(table, KIND, "iou") == pytest.approx(jaccard.tolist())


def test_without_foreground_and_without_a_class() -> None:
    background = segmented(np.zeros((1, 4), int), np.zeros((1, 4), int), 3)
    for metric in ALL:
        value = score(background, metric, KIND)
        assert value == 1 if metric.endswith("_with_background") else np.isnan(value)
    assert score(background, "pixel_accuracy", KIND) == score(background, "mean_pixel_accuracy", KIND) == 1
    assert per_class(background, KIND, "dice") == pytest.approx([1, np.nan, np.nan], nan_ok=True)
    one_of_two = segmented(np.array([[0, 1, 1, 0]]), np.array([[0, 1, 0, 0]]), 3)
    assert score(one_of_two, "macro_iou", KIND) == pytest.approx(1 / 2)
    false = segmented(np.array([[0, 1]]), np.array([[2, 1]]), 3)  # class 2 is predicted, and has no pixel
    assert score(false, "macro_dice", KIND) == pytest.approx(1 / 2)
    assert score(false, "mean_pixel_accuracy", KIND) == pytest.approx(1 / 2)


def test_it_is_pooled_over_the_set_not_averaged_over_samples() -> None:
    masks = np.array([[1] * 10, [0] * 9 + [1]])
    guesses = np.array([[1] * 10, [1] + [0] * 9])
    assert score(segmented(masks, guesses, 2), "dice", KIND) == pytest.approx(20 / 22)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(0, 12))
def test_ignored_pixels_are_in_no_count_and_images_add_up(seed: int, classes: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    mask, guess = rng.integers(classes, size=(2, 12, 5)).astype(np.uint8)
    counts = count_pixels(guess, mask, classes)
    assert (
        counts == count_pixels(guess[:cut], mask[:cut], classes) + count_pixels(guess[cut:], mask[cut:], classes)
    ).all()
    partly = np.where(np.arange(12)[:, None] < cut, IGNORED, mask).astype(np.uint8)
    assert (count_pixels(guess, partly, classes) == count_pixels(guess[cut:], mask[cut:], classes)).all()
    assert counts.dtype == np.int64
    assert counts[0].sum() + counts[2].sum() == 60
