"""A head that starts as a linear probe of the backbone's features: LP-FT (Kumar et al., ICLR 2022, arXiv 2202.10054).

A head that starts from nothing sends large gradients into good features while it is still wrong, and bends them before
it is right. One that is fitted first lets fine-tuning begin where the linear probe ends.
"""

from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from raysweep.transfer.job import Job
from raysweep.transfer.protocols.linear import Linear

_C = 1e-2  # of the L2 penalty; the default of `linear`, for draws too small to choose it by
_KEPT = 16  # heads that a process remembers: the trials of a repeat share theirs

_kept: OrderedDict[tuple, tuple[np.ndarray, np.ndarray, np.ndarray]] = OrderedDict()


def start_from_probe(linear: nn.Linear, job: Job, labels: np.ndarray, features: Callable[[], np.ndarray]) -> None:
    """Give a head the weights of a logistic regression on the features of the job's training samples.

    It is fitted as the protocol `linear` does, on standardised features, whose scale then goes into the weights.
    Nothing but the training samples is used, and no chance: what it gives depends on them and the backbone alone. A
    class without a sample keeps the row that it was drawn with.

    Args:
        linear: the head's last layer, (features, classes).
        labels: class numbers (n,) of `job.train`.
        features: computes those samples' float32 (n, d), as the head is given them, with the checkpoint's weights.
    """
    key = (job.checkpoint.root, job.task.root, job.data, tuple(job.train), job.gpu, linear.out_features)
    if key not in _kept:
        _kept[key] = _fitted(features(), labels, linear.out_features, job.threads)
        if len(_kept) > _KEPT:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    classes, weights, offsets = _kept[key]
    with torch.no_grad():
        linear.weight[classes] = torch.from_numpy(weights).to(linear.weight)
        linear.bias[classes] = torch.from_numpy(offsets).to(linear.bias)


def _fitted(
    features: np.ndarray, labels: np.ndarray, n_classes: int, threads: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The classes that have a sample, and the rows (classes, d) and offsets (classes,) of their logits."""
    from raysweep.transfer.linear_models import LinearModels  # sklearn, which few trials need

    with threadpool_limits(threads):
        fitted = Linear().fitted(features, labels, n_classes=n_classes, values=[_C], seed=0)
    models = LinearModels.of(fitted)
    weights, offsets = models.weights[0] / models.scale, models.offsets[0]
    offsets = offsets - weights @ models.mean
    if len(weights) == 1:  # two classes: the log-odds of the second, shared between the two logits
        weights, offsets = np.concatenate([-weights, weights]) / 2, np.concatenate([-offsets, offsets]) / 2
    return models.classes, weights, offsets
