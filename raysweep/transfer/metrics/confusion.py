"""Accuracy, balanced accuracy and macro F1: from the right samples, the guesses and the labels of each class.

- accuracy: right samples / samples. nan without samples.
- balanced_accuracy: mean recall over the classes that have a sample (as scikit-learn's).
- macro_f1: mean of 2 TP / (2 TP + FP + FN) over the classes that are a label or a guess of some sample.

The guess is the class of the highest score, the first of equals. Per class: recall; of macro_f1 the class's F1.
"""

import numpy as np

from raysweep.transfer.metrics import register
from raysweep.transfer.metrics.metric import Additive, divide, nanmean
from raysweep.transfer.metrics.rows import Rows


class _OfClasses(Additive):
    """Vectors: right samples, guesses and labels of each class (3 C)."""

    kinds = frozenset({"classification"})
    columns = ("label", "scores")

    def vectors(self, rows: Rows) -> np.ndarray:
        eye = np.eye(rows.n_classes, dtype=np.float32)
        truth, guess = eye[rows.labels], eye[rows.guesses]
        return np.concatenate([truth * guess, guess, truth], axis=1)

    def of_class(self, sums: np.ndarray) -> np.ndarray:
        right, _, labels = np.split(sums, 3, axis=1)
        return divide(right, labels)


class _Accuracy(_OfClasses):
    def value(self, sums: np.ndarray) -> np.ndarray:
        right, _, labels = np.split(sums, 3, axis=1)
        return divide(right.sum(1), labels.sum(1))


class _BalancedAccuracy(_OfClasses):
    by_class = True

    def value(self, sums: np.ndarray) -> np.ndarray:
        return nanmean(self.of_class(sums))


class _MacroF1(_OfClasses):
    by_class = True

    def value(self, sums: np.ndarray) -> np.ndarray:
        return nanmean(self.of_class(sums))

    def of_class(self, sums: np.ndarray) -> np.ndarray:
        right, guesses, labels = np.split(sums, 3, axis=1)
        return divide(2 * right, guesses + labels)


register(_Accuracy("accuracy"))
register(_BalancedAccuracy("balanced_accuracy"))
register(_MacroF1("macro_f1"))
