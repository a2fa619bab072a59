"""Panoptic quality against torchmetrics and by hand."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.detection import panoptic_quality

from tests.transfer.metrics.tables import object_score, random_objects


@pytest.mark.parametrize("seed", range(3))
def test_it_is_that_of_torchmetrics(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truths = random_objects(rng, 5)
    guesses = np.where(rng.random(truths.shape) < 0.85, truths, random_objects(rng, 5))
    as_pairs = [torch.tensor(np.stack([ids > 0, ids], axis=-1).astype(int)) for ids in (guesses, truths)]
    each = panoptic_quality(*as_pairs, things={1}, stuffs={0}, return_per_class=True)  # type: ignore[arg-type]
    value = object_score("pq", *((t.tolist(), g.tolist()) for t, g in zip(truths, guesses, strict=True)))
    assert value == pytest.approx(each.ravel()[0].item())
    assert 0 < value < 1


def test_a_pair_matches_above_one_half() -> None:
    half = ([[1, 1, 2, 2]], [[1, 0, 2, 2]])  # IoU 1/2 is no match, IoU 1 is
    assert object_score("pq", half) == pytest.approx(1 / (1 + 1 / 2 + 1 / 2))
    assert object_score("pq", ([[1, 1, 1]], [[1, 1, 0]]), ([[1]], [[0]])) == pytest.approx((2 / 3) / (1 + 1 / 2))
