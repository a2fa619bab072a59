"""Area under the ROC curve, of samples and of patients.

- auroc: the part of (sample of the class, other sample) pairs that the class's score puts in the right order, equal
  scores counted half (Mann-Whitney). Two classes: of the last class; more: mean over the classes that have both samples
  and others. Within each fold, then the mean over the folds where it is defined. nan where none is.
- patient_auroc: the same of the card's units (patients, if they are), each with the mean of its samples' scores; a
  unit's class is that of most of its samples, the first of equals.

Per class: of the class's score against the rest.
"""

import numpy as np

from raysweep.transfer.metrics import register
from raysweep.transfer.metrics.metric import Ranking, divide


class _Auroc(Ranking):
    def ranked(self, scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
        order = np.argsort(scores, kind="stable")
        starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))  # first row of each distinct score
        chosen, weights = positive[order], weights[:, order]
        up = np.add.reduceat(weights * chosen, starts, axis=1)
        down = np.add.reduceat(weights * ~chosen, starts, axis=1)
        below = np.cumsum(down, axis=1) - down / 2
        return divide((up * below).sum(1), up.sum(1) * down.sum(1))


register(_Auroc("auroc"))
register(_Auroc("patient_auroc", by_unit=True))
