"""Patient-level accuracy in its two meanings. A patient is the card's unit: a slide or an image, if it says so.

- mean_patient_accuracy: the mean over patients of the part of a patient's samples that are right, so that each patient
  counts once, however many samples it has ("patient score": Spanhol et al., IEEE Trans. Biomed. Eng. 63, 2016;
  BreakHis). Per class: the mean over the patients that have samples of the class of their accuracy on those.
- patient_vote_accuracy: the part of patients whose samples' majority guess is right; equal votes go to the class with
  the higher mean score. A patient's class is that of most of its samples, the first of equals. Per class: over the
  patients of the class.

nan without patients; per class, without a patient of the class. A patient that several folds tested counts once, with
the mean over those folds.
"""

import numpy as np

from raysweep.transfer.metrics import register
from raysweep.transfer.metrics.metric import OfUnits, divide
from raysweep.transfer.metrics.rows import Rows


class _MeanAccuracy(OfUnits):
    """Vectors of samples: right and labels of each class (2 C); of units: accuracy, 1, and both for each class."""

    kinds = frozenset({"classification"})
    columns = ("label", "scores")

    def vectors(self, rows: Rows) -> np.ndarray:
        truth = np.eye(rows.n_classes)[rows.labels]
        return np.concatenate([truth * (rows.labels == rows.guesses)[:, None], truth], axis=1)

    def of_unit(self, sums: np.ndarray) -> np.ndarray:
        right, samples = np.split(sums, 2, axis=1)
        overall = divide(right.sum(1), samples.sum(1))[:, None]
        each = np.nan_to_num(divide(right, samples))
        return np.concatenate([overall, np.ones_like(overall), each, samples > 0], axis=1)

    def value(self, sums: np.ndarray) -> np.ndarray:
        return divide(sums[:, 0], sums[:, 1])

    def of_class(self, sums: np.ndarray) -> np.ndarray:
        return divide(*np.split(sums[:, 2:], 2, axis=1))


class _VoteAccuracy(OfUnits):
    """Vectors of samples: labels, guesses and scores of each class (3 C); of units: right and class (2 C)."""

    kinds = frozenset({"classification"})
    columns = ("label", "scores")

    def vectors(self, rows: Rows) -> np.ndarray:
        eye = np.eye(rows.n_classes)
        return np.concatenate([eye[rows.labels], eye[rows.guesses], rows.scores], axis=1)

    def of_unit(self, sums: np.ndarray) -> np.ndarray:
        labels, votes, scores = np.split(sums, 3, axis=1)
        label = labels.argmax(1)
        vote = (votes + 0.5 * scores / labels.sum(1, keepdims=True)).argmax(1)  # scores, at most 1, decide equal votes
        truth = np.eye(labels.shape[1])[label]
        return np.concatenate([truth * (vote == label)[:, None], truth], axis=1)

    def value(self, sums: np.ndarray) -> np.ndarray:
        right, units = np.split(sums, 2, axis=1)
        return divide(right.sum(1), units.sum(1))

    def of_class(self, sums: np.ndarray) -> np.ndarray:
        return divide(*np.split(sums, 2, axis=1))


register(_MeanAccuracy("mean_patient_accuracy"))
register(_VoteAccuracy("patient_vote_accuracy"))
