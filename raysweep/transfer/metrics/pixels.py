"""Dice, intersection over union and pixel accuracy: from pixel counts that are summed over all samples.

- dice, iou: counts of all foreground classes (all but class 0) together, then 2 TP / (2 TP + FP + FN) and
  TP / (TP + FP + FN). nan when no foreground pixel is labelled or predicted.
- macro_dice, macro_iou: the same per foreground class, then the mean over those that are labelled or predicted.
- ..._with_background: class 0 is one of the classes. macro_iou_with_background is what others call mIoU;
  dice_with_background equals pixel_accuracy.
- pixel_accuracy: right pixels / pixels. mean_pixel_accuracy: mean over the classes that are labelled of their right
  pixels / their pixels (Long et al., CVPR 2015).

Ignored pixels are in no count. Per class, the background included: Dice, IoU or right pixels / pixels.
"""

from collections.abc import Callable

import numpy as np

from raysweep.tasks.masks import IGNORED
from raysweep.transfer.metrics import register
from raysweep.transfer.metrics.metric import Additive, divide, nanmean
from raysweep.transfer.metrics.rows import Rows


def count_pixels(predicted: np.ndarray, truth: np.ndarray, n_classes: int) -> np.ndarray:
    """TP, FP and FN of each class: int64 (3, classes), from class ids (h, w); those where truth is IGNORED are not."""
    known = truth != IGNORED
    codes = truth[known].astype(np.int64) * n_classes + predicted[known]
    table = np.bincount(codes, minlength=n_classes**2).reshape(n_classes, n_classes)
    tp = np.diagonal(table)
    return np.stack([tp, table.sum(0) - tp, table.sum(1) - tp])


def dice(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> np.ndarray:
    return divide(2 * tp, 2 * tp + fp + fn)


def iou(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> np.ndarray:
    return divide(tp, tp + fp + fn)


def recall(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> np.ndarray:
    return divide(tp, tp + fn)


class _Pixels(Additive):
    """Vectors: TP, FP and FN of each class (3 C)."""

    kinds = frozenset({"segmentation"})
    columns = ("tp", "fp", "fn")

    def __init__(
        self, name: str, ratio: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray], *, macro: bool,
        background: bool,
    ) -> None:  # fmt: skip
        super().__init__(name)
        self._ratio, self.by_class, self._first = ratio, macro, 0 if background else 1

    def vectors(self, rows: Rows) -> np.ndarray:
        return np.concatenate([rows.matrix(column) for column in self.columns], axis=1)

    def mass(self, rows: Rows) -> np.ndarray:
        return (rows.matrix("tp") + rows.matrix("fn"))[:, self._first :].sum(1)

    def value(self, sums: np.ndarray) -> np.ndarray:
        tp, fp, fn = (counts[:, self._first :] for counts in np.split(sums, 3, axis=1))
        if self.by_class:
            return nanmean(self._ratio(tp, fp, fn))
        return self._ratio(tp.sum(1), fp.sum(1), fn.sum(1))

    def of_class(self, sums: np.ndarray) -> np.ndarray:
        return self._ratio(*np.split(sums, 3, axis=1))


for _background, _end in ((False, ""), (True, "_with_background")):
    for _name, _ratio in (("dice", dice), ("iou", iou)):
        register(_Pixels(f"{_name}{_end}", _ratio, macro=False, background=_background))
        register(_Pixels(f"macro_{_name}{_end}", _ratio, macro=True, background=_background))
register(_Pixels("pixel_accuracy", recall, macro=False, background=True))
register(_Pixels("mean_pixel_accuracy", recall, macro=True, background=True))
