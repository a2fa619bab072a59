"""Means over images, worked by hand and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score

from raysweep.transfer.metrics import per_class, score
from tests.transfer.metrics.tables import random_segmented, segmented

KIND = "segmentation"


@pytest.mark.parametrize("classes", [2, 3])
def test_it_is_the_mean_of_the_images_own(classes: int) -> None:
    masks, guesses, table = random_segmented(7, classes=classes)
    pairs = list(zip(masks, guesses, strict=True))
    for metric, function in (("image_dice", f1_score), ("image_iou", jaccard_score)):
        own = [function(m, g, labels=list(range(1, classes)), average="micro") for m, g in pairs]
        assert score(table, metric, KIND) == pytest.approx(np.mean(own))
        each = np.mean([function(m, g, average=None) for m, g in pairs], axis=0)
        assert per_class(table, KIND, metric) == pytest.approx(each)


def test_images_without_foreground() -> None:
    """In truth and prediction: left out. In one of them: 0."""
    masks = np.array([[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]])
    guesses = np.array([[0, 0, 0, 0], [0, 1, 1, 1], [0, 0, 0, 0]])
    table = segmented(masks, guesses, 2)
    assert score(table, "image_dice", KIND) == pytest.approx((4 / 5 + 0) / 2)
    assert np.isnan(score(table.slice(0, 1), "image_dice", KIND))
    assert score(segmented(masks[:1], np.array([[0, 0, 1, 0]]), 2), "image_iou", KIND) == 0
    assert per_class(table.slice(0, 1), KIND, "image_dice") == pytest.approx([1, np.nan], nan_ok=True)
