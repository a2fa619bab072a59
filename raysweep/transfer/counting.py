"""Predicted masks of a task counted for its prediction files, one image after another."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from raysweep.errors import RequestError
from raysweep.tasks.card import OBJECT_METRICS, Card, Objects
from raysweep.tasks.layouts import layout_of
from raysweep.tasks.masks import IGNORED
from raysweep.tasks.read import read_instances
from raysweep.tasks.task import Task
from raysweep.transfer.metrics import get_metric
from raysweep.transfer.metrics.objects import ObjectMetric, overlap
from raysweep.transfer.metrics.pixels import count_pixels
from raysweep.transfer.predictions import segmentation_table


class MaskCounts:
    """Collects what `predictions_schema("segmentation", metrics)` holds of some samples of a task."""

    def __init__(self, task: Task, indices: Sequence[int], metrics: Sequence[str]) -> None:
        """metrics: of the card's, those whose counts are wanted; objects are looked for where one needs them."""
        self._task, self._indices = task, indices
        self._pixels: list[np.ndarray] = []
        found = [get_metric(name, "segmentation") for name in metrics if name in OBJECT_METRICS]
        self._metrics = [metric for metric in found if isinstance(metric, ObjectMetric)]
        self._objects: dict[str, list[np.ndarray]] = {metric.name: [] for metric in self._metrics}

    def add(self, predicted: np.ndarray, truth: np.ndarray) -> None:
        """Count the next sample: class ids (h, w), IGNORED where the truth is none.

        Raises WorkError when objects are asked for and the file that numbers them cannot be read.
        """
        index = self._indices[len(self._pixels)]
        self._pixels.append(count_pixels(predicted, truth, len(self._task.card.classes)))
        if self._metrics:
            known = truth != IGNORED
            found = overlap(
                predicted_objects(predicted, self._task.card.objects) * known, read_instances(self._task, index) * known
            )
            for metric in self._metrics:
                self._objects[metric.name].append(metric.count(found))

    def table(self, *, fold: int) -> pa.Table:
        """The rows of all samples, by the model of a fold."""
        samples = [self._task.samples[index] for index in self._indices]
        objects = {name: np.stack(counts) for name, counts in self._objects.items()}
        return segmentation_table(samples, np.stack(self._pixels), objects=objects, fold=fold)


def predicted_objects(predicted: np.ndarray, options: Objects) -> np.ndarray:
    """Numbers of the connected components of all that is not background: int32 (h, w), 0 where none is."""
    from scipy.ndimage import generate_binary_structure, label

    structure = generate_binary_structure(2, 2 if options.connectivity == 8 else 1)
    objects = label(predicted > 0, structure)[0].astype(np.int32)
    if options.min_px > 1:
        objects[np.bincount(objects.ravel())[objects] < options.min_px] = 0
    return objects


def check_objects(card: Card) -> None:
    """Raise RequestError when a card lists a metric of objects and its masks do not number any."""
    asked = [metric for metric in card.metrics if metric in OBJECT_METRICS]
    layout, options = layout_of(card)
    if asked and not layout.reader(options, Path()).numbered:
        raise RequestError(
            f"card {card.name}: metrics: {asked[0]} compares objects, and the masks of this layout do not number any; "
            "use masks that do, with layout.masks.instances, or take the metric out"
        )
