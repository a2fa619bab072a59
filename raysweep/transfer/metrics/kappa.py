"""Quadratic kappa: agreement beyond chance on classes that have an order (Cohen, Psychol. Bull. 70, 1968).

quadratic_kappa = 1 - sum w O / sum w E, with O the table of labels and guesses, E the one expected from its margins and
w = (i - j)^2 of class numbers in card order: -1 to 1. All samples count in one table, folds pooled. nan when labels and
guesses are all of one class (0/0), as in scikit-learn. Per class: recall, since kappa is no mean over classes.
"""

import numpy as np

from raysweep.transfer.metrics import register
from raysweep.transfer.metrics.metric import Additive, divide
from raysweep.transfer.metrics.rows import Rows


class _QuadraticKappa(Additive):
    """Vectors: the table of labels and guesses (C * C)."""

    kinds = frozenset({"classification"})
    columns = ("label", "scores")
    bounds = (-1.0, 1.0)

    def vectors(self, rows: Rows) -> np.ndarray:
        cells = np.eye(rows.n_classes**2, dtype=np.float32)
        return cells[rows.labels * rows.n_classes + rows.guesses]

    def value(self, sums: np.ndarray) -> np.ndarray:
        table = _table(sums)
        number = np.arange(table.shape[1])
        far = (number[:, None] - number) ** 2.0
        expected = table.sum(2)[:, :, None] * table.sum(1)[:, None, :]
        observed = (far * table).sum((1, 2)) * table.sum((1, 2))
        return 1 - divide(observed, (far * expected).sum((1, 2)))

    def of_class(self, sums: np.ndarray) -> np.ndarray:
        table = _table(sums)
        return divide(np.diagonal(table, axis1=1, axis2=2), table.sum(2))


def _table(sums: np.ndarray) -> np.ndarray:
    classes = round(sums.shape[1] ** 0.5)
    return sums.reshape(-1, classes, classes)


register(_QuadraticKappa("quadratic_kappa"))
