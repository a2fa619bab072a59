"""Panoptic quality of objects of one kind (Kirillov et al., CVPR 2019; Graham et al., Med. Image Anal. 58, 2019).

pq = sum of IoU over matched pairs / (TP + FP / 2 + FN / 2): detection quality times the matches' mean IoU. A pair
matches when its IoU is above 0.5, which no object can have with two others. Sums go over all images (the mean over
images, which HoVer-Net's tables give, is another number). 0 when only one of truth and prediction has objects; nan when
neither has.
"""

import numpy as np

from raysweep.transfer.metrics import register
from raysweep.transfer.metrics.metric import divide
from raysweep.transfer.metrics.objects import ObjectMetric, Overlap


class _PanopticQuality(ObjectMetric):
    """Counts: sum of IoU, TP, FP, FN."""

    def count(self, found: Overlap) -> np.ndarray:
        matched = 2 * found.shared > found.unions
        tp = int(matched.sum())
        return np.array([found.ious[matched].sum(), tp, len(found.predicted) - tp, len(found.truth) - tp])

    def value(self, sums: np.ndarray) -> np.ndarray:
        ious, tp, fp, fn = sums.T
        return divide(ious, tp + fp / 2 + fn / 2)


register(_PanopticQuality("pq"))
