"""Training losses. Segmentation: cross-entropy plus soft Dice, for training batches and whole val sets alike."""

import torch
import torch.nn.functional as F
from torch import Tensor


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of logits (batch, classes) and labels (batch,)."""
    return F.cross_entropy(logits, labels)


def segmentation_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Mean pixel cross-entropy plus soft Dice loss of logits (batch, classes, h, w) and masks (batch, h, w)."""
    logits = logits.float()
    overlap, sizes = dice_sums(logits.softmax(1), masks)
    return F.cross_entropy(logits, masks) + dice_loss(overlap, sizes)


def dice_sums(probabilities: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Per foreground class, over all pixels: sum of p t, and of p + t. Both (classes - 1,), and they add up."""
    truth = F.one_hot(masks, probabilities.shape[1]).movedim(-1, 1).to(probabilities.dtype)
    dims = [d for d in range(probabilities.ndim) if d != 1]
    overlap = (probabilities * truth).sum(dims)
    return overlap[1:], (probabilities.sum(dims) + truth.sum(dims))[1:]


def dice_loss(overlap: Tensor, sizes: Tensor) -> Tensor:
    """1 - mean over classes of (2 sum(p t) + 1) / (sum(p + t) + 1) (Milletari et al., 3DV 2016, smoothed)."""
    return 1 - torch.mean((2 * overlap + 1) / (sizes + 1))
