"""Dice and intersection over union of each image, then the mean over images: a small image counts as much as a large.

- image_dice, image_iou: all foreground classes of the image together. An image without foreground in truth and
  prediction has no such value and is left out, as MONAI does by default: scored 1, a model that predicts nothing would
  gain from every empty image. With foreground in only one of the two it has 0. nan when every image is left out.

Per class, the background included: the mean over the images where the class is labelled or predicted.
"""

from collections.abc import Callable

import numpy as np

from raysweep.transfer.metrics import register
from raysweep.transfer.metrics.metric import Additive, divide
from raysweep.transfer.metrics.pixels import dice, iou
from raysweep.transfer.metrics.rows import Rows


class _PerImage(Additive):
    """Vectors: the image's value (0 where it has none) of its foreground and of each class, and whether it has one."""

    kinds = frozenset({"segmentation"})
    columns = ("tp", "fp", "fn")

    def __init__(self, name: str, ratio: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> None:
        super().__init__(name)
        self._ratio = ratio

    def vectors(self, rows: Rows) -> np.ndarray:
        counts = [rows.matrix(column) for column in self.columns]
        foreground = self._ratio(*(count[:, 1:].sum(1, keepdims=True) for count in counts))
        values = np.concatenate([foreground, self._ratio(*counts)], axis=1)
        return np.concatenate([np.nan_to_num(values), ~np.isnan(values)], axis=1)

    def value(self, sums: np.ndarray) -> np.ndarray:
        return self._means(sums)[:, 0]

    def of_class(self, sums: np.ndarray) -> np.ndarray:
        return self._means(sums)[:, 1:]

    def _means(self, sums: np.ndarray) -> np.ndarray:
        return divide(*np.split(sums, 2, axis=1))


register(_PerImage("image_dice", dice))
register(_PerImage("image_iou", iou))
