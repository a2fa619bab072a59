"""Object Dice of the GlaS contest (Sirinukunwattana et al., Med. Image Anal. 35, 2017, eq. 5), over all images.

object_dice = 1/2 (sum over predicted objects S of |S| / sum |S| * Dice(S, G(S)) + sum over truth objects G of
|G| / sum |G| * Dice(G, S(G))), where G(S) is the truth object that S overlaps most (in pixels; the first of equals) and
S(G) likewise; an object that overlaps none has Dice 0. Sums go over the objects of all images, as the contest weighs
them. 0 when only one of truth and prediction has objects; nan when neither has.
"""

import numpy as np

from raysweep.transfer.metrics import register
from raysweep.transfer.metrics.metric import divide
from raysweep.transfer.metrics.objects import ObjectMetric, Overlap


class _ObjectDice(ObjectMetric):
    """Counts: sum |S| Dice, sum |S|, sum |G| Dice, sum |G|."""

    def count(self, found: Overlap) -> np.ndarray:
        dice = 2 * found.shared / (found.truth[found.pairs[:, 0]] + found.predicted[found.pairs[:, 1]])
        weighted = []
        for side, areas in ((1, found.predicted), (0, found.truth)):
            best = found.best(side, found.shared)
            weighted += [(areas[found.pairs[best, side]] * dice[best]).sum(), areas.sum()]
        return np.array(weighted, dtype=np.float64)

    def value(self, sums: np.ndarray) -> np.ndarray:
        halves = np.nan_to_num(divide(sums[:, 0::2], sums[:, 1::2])).sum(1) / 2
        return np.where(sums[:, 1] + sums[:, 3] > 0, halves, np.nan)


register(_ObjectDice("object_dice"))
