import numpy as np
import pytest
import torch
import torch.nn.functional as F

from raysweep.tasks.masks import IGNORED
from raysweep.transfer.losses import classification_loss, dice_loss, dice_sums, segmentation_loss


def test_segmentation_loss_is_cross_entropy_plus_dice() -> None:
    logits, masks = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 3
    masks = masks.view(2, 4, 4)
    p = logits.softmax(1)
    dice = [(2 * (p[:, c] * (masks == c)).sum() + 1) / (p[:, c].sum() + (masks == c).sum() + 1) for c in (1, 2)]
    expected = F.cross_entropy(logits, masks) + 1 - sum(dice) / 2
    torch.testing.assert_close(segmentation_loss(logits, masks), expected)


def test_dice_sums_of_parts_add_up() -> None:
    p = torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)).softmax(1)
    masks = torch.arange(100).view(4, 5, 5) % 3
    whole, parts = dice_sums(p, masks), [dice_sums(p[i : i + 1], masks[i : i + 1]) for i in range(4)]
    for i in range(2):
        torch.testing.assert_close(whole[i], torch.stack([part[i] for part in parts]).sum(0))


def test_a_perfect_map_has_no_loss() -> None:
    masks = torch.tensor([[[0, 1], [1, 0]]])
    logits = 50.0 * F.one_hot(masks, 2).movedim(-1, 1)
    assert segmentation_loss(logits, masks).item() == pytest.approx(0, abs=1e-6)
    assert dice_loss(torch.zeros(1), torch.full((1,), 1e6)).item() == pytest.approx(1, abs=1e-5)


def test_classification_loss() -> None:
    assert classification_loss(torch.zeros(3, 4), torch.tensor([0, 1, 2])).item() == pytest.approx(np.log(4))


def test_ignored_pixels_count_nowhere() -> None:
    logits = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    masks = torch.arange(48).view(2, 4, 6) % 3
    cut = segmentation_loss(logits[..., :4], masks[..., :4])
    masks[..., 4:] = IGNORED
    loss = segmentation_loss(logits, masks)
    torch.testing.assert_close(loss, cut)
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad[..., 4:] == 0).all()
    assert (logits.grad[..., :4] != 0).all()


def test_a_batch_of_ignored_pixels_teaches_nothing() -> None:
    logits = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = segmentation_loss(logits, torch.full((1, 3, 3), IGNORED))
    loss.backward()
    assert logits.grad is not None
    assert loss.item() == 0
    assert (logits.grad == 0).all()
