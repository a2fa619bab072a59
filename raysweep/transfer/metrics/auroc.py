"""Area under the ROC curve, of samples and of patients.

- auroc: the part of (sample of the class, other sample) pairs that the class's score puts in the right order, equal
  scores counted half (Mann-Whitney). Two classes: of the last class; more: mean over the classes that have both samples
  and others. Within each fold, then the mean over the folds where it is defined. nan where none is.
- patient_auroc: the same of the card's units (patients, if they are), each with the mean of its samples' scores; a
  unit's class is that of most of its samples, the first of equals.

Per class: of the class's score against the rest.

Under weights w of groups it is w P w / (w u)(w d): u and d say how many positives and others a group has, and P[g, h]
how many pairs of a positive of group g and another of group h are in order. P is counted once, by going through the
scores from the lowest with the others so far of each group, and then serves thousands of resamples.
"""

from typing import TYPE_CHECKING

import numpy as np

from raysweep.transfer.metrics import register
from raysweep.transfer.metrics.metric import Ranking, divide

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_MOST_GROUPS = 2048  # whose pairs are counted: 32 MB
_CHUNK = 2**22  # numbers handled at once: bounds the memory


class _Auroc(Ranking):
    def ranked(self, scores: np.ndarray, positive: np.ndarray, groups: np.ndarray, weights: np.ndarray) -> np.ndarray:
        distinct, place = np.unique(scores, return_inverse=True)
        if weights.shape[1] <= _MOST_GROUPS:
            return _by_pairs(place, len(distinct), positive, groups, weights)
        step = max(1, _CHUNK // len(scores))
        parts = [weights[i : i + step][:, groups] for i in range(0, len(weights), step)]
        return np.concatenate([_by_rows(place, positive, part) for part in parts])


def _by_pairs(
    place: np.ndarray, n_places: int, positive: np.ndarray, groups: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """By the pairs of groups; `place` (n,) numbers the distinct scores, the lowest first."""
    from scipy import sparse

    n_groups = weights.shape[1]

    def counted(chosen: np.ndarray) -> "csr_array":
        """How many of the chosen rows are at each place, by group (n_places, n_groups)."""
        ones = np.ones(int(chosen.sum()))
        return sparse.csr_array((ones, (place[chosen], groups[chosen])), shape=(n_places, n_groups))

    up, down = counted(positive), counted(~positive)
    pairs, below = np.zeros((n_groups, n_groups)), np.zeros(n_groups)  # others of each group at lower places
    step = max(1, _CHUNK // n_groups)
    for start in range(0, n_places, step):
        here = down[start : start + step].toarray()
        reached = np.cumsum(here, axis=0) + below
        pairs += up[start : start + step].T @ (reached - here / 2)  # equal scores count half
        below = reached[-1]
    ups, downs = weights @ up.sum(axis=0), weights @ down.sum(axis=0)
    return divide(((weights @ pairs) * weights).sum(1), ups * downs)


def _by_rows(place: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Row by row, where groups are so many that their pairs would not fit: weights (B, n)."""
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))  # first row of each distinct score
    chosen, weights = positive[order], weights[:, order]
    up = np.add.reduceat(weights * chosen, starts, axis=1)
    down = np.add.reduceat(weights * ~chosen, starts, axis=1)
    below = np.cumsum(down, axis=1) - down / 2
    return divide((up * below).sum(1), up.sum(1) * down.sum(1))


register(_Auroc("auroc"))
register(_Auroc("patient_auroc", by_unit=True))
