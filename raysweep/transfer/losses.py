"""Training losses. Segmentation: cross-entropy plus soft Dice, for training batches and whole val sets alike."""

import torch
import torch.nn.functional as F
from torch import Tensor

from raysweep.tasks.masks import IGNORED


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of logits (batch, classes) and labels (batch,)."""
    return F.cross_entropy(logits, labels)


def segmentation_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Mean pixel cross-entropy plus soft Dice loss of logits (batch, classes, h, w) and masks (batch, h, w).

    Pixels with the class id `IGNORED` are left out of both; a batch of nothing else has no cross-entropy.
    """
    logits = logits.float()
    overlap, sizes = dice_sums(logits.softmax(1), masks)
    entropy = F.cross_entropy(logits, masks, ignore_index=IGNORED, reduction="sum")
    return entropy / (masks != IGNORED).sum().clamp_min(1) + dice_loss(overlap, sizes)


def dice_sums(probabilities: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Per foreground class, over all pixels but ignored ones: sum of p t, and of p + t.

    Both (classes - 1,), and they add up.
    """
    counted = (masks != IGNORED)[:, None]
    truth = F.one_hot(masks.where(counted[:, 0], 0), probabilities.shape[1]).movedim(-1, 1)
    truth = truth.to(probabilities.dtype) * counted
    probabilities = probabilities * counted
    dims = [d for d in range(probabilities.ndim) if d != 1]
    overlap = (probabilities * truth).sum(dims)
    return overlap[1:], (probabilities.sum(dims) + truth.sum(dims))[1:]


def dice_loss(overlap: Tensor, sizes: Tensor) -> Tensor:
    """1 - mean over classes of (2 sum(p t) + 1) / (sum(p + t) + 1) (Milletari et al., 3DV 2016, smoothed)."""
    return 1 - torch.mean((2 * overlap + 1) / (sizes + 1))
