"""What a frozen protocol costs on this machine for one draw, beside the features: measured on drawn ones."""

import math
from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from raysweep.backbones.machine import timed
from raysweep.transfer.cross_validation import FOLDS
from raysweep.transfer.frozen import FrozenProtocol

_FACTORS = 24  # that the drawn features are made of: those of networks hang together as well
_LAST = 0.3  # of a path: one fit from nothing takes as long as a few that begin where another ended
_MOST_NUMBERS = 2**16  # of the features that are measured with; beyond, time grows with their number


def fit_seconds(
    protocol: FrozenProtocol, values: Sequence[float], *, n: int, width: int, n_classes: int, threads: int = 1
) -> float:
    """Seconds that fits on a draw take: the path in every part of the cross-validation, and the last one.

    n: images of the draw; width: of the features. How hard features are to fit cannot be known before they are there.
    """
    fitted_on = max(n_classes, round(n * (FOLDS - 1) / FOLDS))
    rows = max(n_classes, min(fitted_on, _MOST_NUMBERS // width))
    features, labels = _drawn(rows, width, n_classes)
    held = features[: math.ceil(rows / (FOLDS - 1))]

    fitted: dict[str, np.ndarray] = {}

    def path() -> None:
        fitted.update(protocol.fitted(features, labels, n_classes=n_classes, values=list(values), seed=0))
        protocol.scorer(fitted)(held)

    with threadpool_limits(threads):
        seconds = (FOLDS + _LAST) * timed(path, threads=threads)
    by_all = any(np.ndim(array) and len(array) == rows for array in fitted.values())  # it holds every image against all
    return seconds * (fitted_on / rows) ** (2 if by_all else 1)


def _drawn(n: int, width: int, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Features float32 (n, width) in which classes lie apart in a few factors, and labels (n,)."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % n_classes
    factors = rng.normal(size=(n, _FACTORS))
    factors[:, :4] += rng.normal(size=(n_classes, 4))[labels]
    features = factors @ rng.normal(size=(_FACTORS, width)) + 0.5 * rng.normal(size=(n, width))
    return features.astype(np.float32), labels
