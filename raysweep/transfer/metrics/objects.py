"""What metrics of objects share: which truth object overlaps which predicted one, and by how many pixels.

Objects are all foreground, whatever its class. Their counts are stored in a column of the metric's own name and summed
over all images, so that every object (or, where areas weigh, every pixel) counts the same in whatever image it is.
Where an image has objects in only one of truth and prediction, those are errors; without objects in either it adds
nothing, and a metric of such images alone is nan. Per class: of two classes the foreground's, else nan.
"""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from raysweep.transfer.metrics.metric import Additive
from raysweep.transfer.metrics.rows import Rows


@dataclass(frozen=True)
class Overlap:
    """Areas in pixels of truth objects (T,) and predicted ones (P,), and of every pair that overlaps.

    pairs: (K, 2) positions in `truth` and in `predicted`, sorted. shared: (K,) pixels of both.
    """

    truth: np.ndarray
    predicted: np.ndarray
    pairs: np.ndarray
    shared: np.ndarray

    @property
    def ious(self) -> np.ndarray:
        """Intersection over union of each pair (K,)."""
        return self.shared / self.unions

    @property
    def unions(self) -> np.ndarray:
        """Pixels of either of each pair (K,)."""
        return self.truth[self.pairs[:, 0]] + self.predicted[self.pairs[:, 1]] - self.shared

    def best(self, side: int, by: np.ndarray) -> np.ndarray:
        """Of each truth object (side 0) or predicted one (side 1) that overlaps any, its pair with the highest `by`.

        Of equal ones the first; positions in `pairs`.
        """
        order = np.lexsort((self.pairs[:, 1 - side], -by, self.pairs[:, side]))
        return order[np.unique(self.pairs[order, side], return_index=True)[1]]


def overlap(predicted: np.ndarray, truth: np.ndarray) -> Overlap:
    """Compare objects: integers (h, w), 0 where none is; any numbers, one for each object."""
    (truth_area, truth_place), (predicted_area, predicted_place) = _areas(truth), _areas(predicted)
    both = (truth > 0) & (predicted > 0)
    codes = truth_place[truth[both]] * len(predicted_area) + predicted_place[predicted[both]]
    found, shared = np.unique(codes, return_counts=True)
    pairs = np.stack(np.divmod(found, max(1, len(predicted_area))), axis=1)
    return Overlap(truth_area, predicted_area, pairs, shared)


class ObjectMetric(Additive):
    """A metric whose counts of an image come from the overlap of its objects."""

    kinds = frozenset({"segmentation"})

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.columns = (name, "tp")  # tp says how many classes there are

    @abstractmethod
    def count(self, found: Overlap) -> np.ndarray:
        """The counts of one image (d,)."""

    def vectors(self, rows: Rows) -> np.ndarray:
        return rows.matrix(self.name)

    def of_class(self, sums: np.ndarray) -> np.ndarray:
        return self.value(sums)[:, None]

    def per_class(self, rows: Rows) -> np.ndarray:
        foreground = super().per_class(rows)[0] if rows.n_classes == 2 else np.nan
        return np.append(np.full(rows.n_classes - 1, np.nan), foreground)


def _areas(objects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of each object, and the place of each number among the objects."""
    counts = np.bincount(objects.ravel())
    counts[0] = 0
    place = np.cumsum(counts > 0) - 1
    return counts[counts > 0], place
