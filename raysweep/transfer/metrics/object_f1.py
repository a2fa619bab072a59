"""Object F1 of the GlaS contest (Sirinukunwattana et al., Med. Image Anal. 35, 2017, section 5.1), over all images.

object_f1 = 2 TP / (2 TP + FP + FN). A predicted object is right when it holds more than half of the truth object that
it overlaps most (in pixels; the first of equals), else false; truth objects beyond the right ones are missed. Counts
are summed over all images. 0 when only one of truth and prediction has objects; nan when neither has.
"""

import numpy as np

from raysweep.transfer.metrics import register
from raysweep.transfer.metrics.metric import divide
from raysweep.transfer.metrics.objects import ObjectMetric, Overlap


class _ObjectF1(ObjectMetric):
    """Counts: TP, FP, FN."""

    def count(self, found: Overlap) -> np.ndarray:
        best = found.best(1, found.shared)
        tp = int((2 * found.shared[best] > found.truth[found.pairs[best, 0]]).sum())  # no two can hold half of one
        return np.array([tp, len(found.predicted) - tp, len(found.truth) - tp], dtype=np.float64)

    def value(self, sums: np.ndarray) -> np.ndarray:
        tp, fp, fn = sums.T
        return divide(2 * tp, 2 * tp + fp + fn)


register(_ObjectF1("object_f1"))
