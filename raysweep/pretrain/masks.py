"""Which tokens of a vision transformer are masked: functions of (seed, epoch, patch key), like everything random."""

import math

import torch
from torch import Tensor, nn

from raysweep.errors import RequestError
from raysweep.pretrain.batch import Batch

_SHARE = 0.5  # of the images that have any mask
_RATIO = (0.1, 0.5)  # of a masked image's tokens
_BLOCKS = 16  # tries to lay a block; more hardly ever fit
_LEAST = 4  # tokens of a block
_ASPECT = 0.3  # smallest height to width of a block; the largest is its inverse


def token_grid(vit: nn.Module, view: Tensor) -> tuple[int, int]:
    """Rows and columns of the tokens of a view, float (n, 3, h, w).

    Raises RequestError where the transformer's patches do not divide it.
    """
    high, wide = vit.patch_embed.patch_size  # type: ignore[union-attr, misc]
    h, w = view.shape[-2:]
    if h % high or w % wide:
        raise RequestError(
            f"px: views of {h} px cannot be cut into this backbone's tokens of {high} px; choose a multiple of it"
        )
    return h // high, w // wide


def kept_and_masked(batch: Batch, tokens: int, ratio: float) -> tuple[Tensor, Tensor]:
    """Tokens in random order, split in two: int64 (n, kept) and (n, masked), at least one of each.

    Args:
        tokens: number of tokens of an image, at least 2.
        ratio: part of them that is masked.
    """
    order = batch.draws("mask", tokens).argsort(dim=1, stable=True)
    kept = min(max(1, round(tokens * (1 - ratio))), tokens - 1)
    return order[:, :kept], order[:, kept:]


def block_masks(batch: Batch, purpose: str, grid: tuple[int, int]) -> Tensor:
    """Masks made of rectangles, bool (n, rows, columns): of every second image on average, none of the others.

    As in BEiT, iBOT and DINOv2 (Bao et al. 2022, algorithm 1), with the constants of the last: 10 to 50 % of the
    tokens, in blocks of at least 4 that are at most 3.3 times as long as wide. Where no further block fits, single
    tokens fill up, so that the ratio is what was drawn. Each patch draws for itself whether it has a mask: a quota of
    the batch would hang on the other patches. All images take the same number of tries, at once, on the batch's device.

    Args:
        purpose: names the stream of random numbers, so that two views of a patch can have different masks.
        grid: rows and columns.
    """
    rows, columns = grid
    tokens = rows * columns
    draws = batch.draws(purpose, 2 + 4 * _BLOCKS + tokens)
    low, high = _RATIO
    wanted = ((low + (high - low) * draws[:, 0]) * tokens).floor().clamp(min=1) * (draws[:, 1] < _SHARE)
    blocks = draws[:, 2 : 2 + 4 * _BLOCKS].view(-1, _BLOCKS, 4)
    row = torch.arange(rows, device=draws.device)[:, None]
    column = torch.arange(columns, device=draws.device)
    mask = torch.zeros(len(draws), rows, columns, dtype=torch.bool, device=draws.device)
    for area_draw, aspect_draw, top_draw, left_draw in blocks.permute(1, 2, 0)[..., None, None]:
        left_over = wanted[:, None, None] - mask.sum((1, 2), keepdim=True)
        area = _LEAST + area_draw * (left_over - _LEAST).clamp(min=0)
        aspect = torch.exp((2 * aspect_draw - 1) * math.log(1 / _ASPECT))
        height, width = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
        top, left = (top_draw * (rows - height + 1)).floor(), (left_draw * (columns - width + 1)).floor()
        block = (row >= top) & (row < top + height) & (column >= left) & (column < left + width)
        fits = (height < rows) & (width < columns) & ((block & ~mask).sum((1, 2), keepdim=True) <= left_over)
        mask = mask | (block & fits)
    free = draws[:, 2 + 4 * _BLOCKS :].masked_fill(mask.flatten(1), -1.0)  # the masked first
    places = free.argsort(dim=1, stable=True).argsort(dim=1, stable=True)
    return (places < wanted[:, None]).view_as(mask)
