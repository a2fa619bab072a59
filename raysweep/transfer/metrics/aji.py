"""Aggregated Jaccard index (Kumar et al., IEEE Trans. Med. Imaging 36, 2017, algorithm 1), over all images.

aji = C / U. Each truth object takes the predicted object of the highest IoU (the first of equals; one may be taken
twice): C gains their intersection, U their union. A truth object that overlaps none, and a predicted one that none
took, adds its area to U. C and U are summed over all images (Kumar's tables give the mean over images). 0 when only one
of truth and prediction has objects; nan when neither has.
"""

import numpy as np

from raysweep.transfer.metrics import register
from raysweep.transfer.metrics.metric import divide
from raysweep.transfer.metrics.objects import ObjectMetric, Overlap


class _AggregatedJaccard(ObjectMetric):
    """Counts: intersections, unions."""

    def count(self, found: Overlap) -> np.ndarray:
        best = found.best(0, found.ious)
        alone, untaken = np.ones(len(found.truth), bool), np.ones(len(found.predicted), bool)
        alone[found.pairs[best, 0]] = False
        untaken[found.pairs[best, 1]] = False
        unions = found.unions[best].sum() + found.truth[alone].sum() + found.predicted[untaken].sum()
        return np.array([found.shared[best].sum(), unions], dtype=np.float64)

    def value(self, sums: np.ndarray) -> np.ndarray:
        return divide(sums[:, 0], sums[:, 1])


register(_AggregatedJaccard("aji"))
