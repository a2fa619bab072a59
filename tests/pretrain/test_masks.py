"""Masks: how much they cover, and that they hang on the patch alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.backbones.create import create_backbone
from raysweep.errors import RequestError
from raysweep.pretrain.batch import Batch
from raysweep.pretrain.masks import block_masks, kept_and_masked, token_grid


def _batch(keys, epoch=0):
    labels = torch.zeros(len(keys), dtype=torch.int64)
    return Batch([], labels, labels, np.array(keys, np.uint64), 7, epoch)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 300), st.floats(0.01, 0.99))
def test_tokens_are_split_by_the_ratio(tokens, ratio):
    kept, masked = kept_and_masked(_batch([1, 2, 3]), tokens, ratio)
    both = torch.cat([kept, masked], dim=1)
    assert torch.equal(both.sort(dim=1).values, torch.arange(tokens).expand(3, tokens))
    assert min(kept.shape[1], masked.shape[1]) >= 1
    assert abs(masked.shape[1] - ratio * tokens) <= 1


def test_block_masks_cover_a_tenth_to_a_half_of_every_second_image():
    masks = block_masks(_batch(range(400)), "mask 0", (14, 14))
    counts = masks.sum((1, 2))
    some = counts[counts > 0]
    assert 160 < len(some) < 240
    assert int(some.min()) >= 19  # the floor of 10 % of 196
    assert int(some.max()) <= 98
    assert 0.28 < float(some.float().mean()) / 196 < 0.32  # uniform between them


def test_block_masks_are_blocks():
    """A masked token's right-hand neighbour is masked far more often than chance has it."""
    masks = block_masks(_batch(range(300)), "mask 0", (14, 14))
    masks = masks[masks.any(dim=(1, 2))]
    beside = masks[:, :, 1:][masks[:, :, :-1]].float().mean()
    assert beside > 0.75
    assert masks.float().mean() < 0.35
    assert masks.any(dim=0).all()  # no place is never masked


@pytest.mark.parametrize("grid", [(1, 1), (2, 2), (4, 4), (7, 5)])
def test_small_grids_have_masks(grid):
    masks = block_masks(_batch(range(100)), "mask 0", grid)
    counts = masks.sum((1, 2))[masks.any(dim=(1, 2))]
    assert 30 < len(counts) < 70
    assert int(counts.max()) <= max(1, grid[0] * grid[1] // 2)


@pytest.mark.parametrize(
    "draw", [lambda batch: block_masks(batch, "mask 0", (8, 8)), lambda batch: kept_and_masked(batch, 64, 0.75)[1]]
)
def test_masks_do_not_depend_on_the_rest_of_the_batch(draw):
    """Neither on its order, nor on how ranks share it; they do on the epoch."""
    keys = list(range(40))
    whole = draw(_batch(keys))
    turned = draw(_batch(keys[::-1])).flip(0)
    shares = torch.cat([draw(_batch(keys[:13])), draw(_batch(keys[13:]))])
    assert torch.equal(whole, turned)
    assert torch.equal(whole, shares)
    assert not torch.equal(whole, draw(_batch(keys, epoch=1)))


def test_two_views_have_masks_of_their_own():
    batch = _batch(range(40))
    assert not torch.equal(block_masks(batch, "mask 0", (8, 8)), block_masks(batch, "mask 1", (8, 8)))


def test_a_view_that_tokens_do_not_divide_is_refused():
    vit = create_backbone("test_vit", seed=0, arguments={"depth": 1})
    assert token_grid(vit, torch.zeros(1, 3, 64, 48)) == (4, 3)
    with pytest.raises(RequestError, match=r"px: views of 50 px .*16 px; choose a multiple"):
        token_grid(vit, torch.zeros(1, 3, 50, 50))


def test_a_compiled_step_draws_the_same_masks():
    compiled = torch.compile(lambda batch: block_masks(batch, "mask 0", (4, 4)), backend="eager")
    assert torch.equal(compiled(_batch(range(5))), block_masks(_batch(range(5)), "mask 0", (4, 4)))
