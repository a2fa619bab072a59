"""Prediction tables made from arrays."""

import numpy as np
import pyarrow as pa

from raysweep.transfer.metrics import metrics
from raysweep.transfer.metrics.objects import ObjectMetric, overlap
from raysweep.transfer.metrics.pixels import count_pixels
from raysweep.transfer.schema import CLASSIFICATION_PREDICTIONS, SEGMENTATION_PREDICTIONS, predictions_schema

OBJECTS = {name: metric for name, metric in metrics().items() if isinstance(metric, ObjectMetric)}
EDGE = 8


def classified(
    labels: np.ndarray, scores: np.ndarray, folds: np.ndarray | int = 0, units: list[str] | None = None
) -> pa.Table:
    names = [str(i) for i in range(len(labels))]
    fold = np.broadcast_to(folds, len(labels)).astype(np.int32)
    columns = [names, units or names, fold, labels.astype(np.int32), scores.astype(np.float32).tolist()]
    return pa.table([pa.array(c, t) for c, t in zip(columns, CLASSIFICATION_PREDICTIONS.types, strict=True)],
                    schema=CLASSIFICATION_PREDICTIONS)  # fmt: skip


def segmented(masks: np.ndarray, guesses: np.ndarray, classes: int, units: list[str] | None = None) -> pa.Table:
    """Masks and guesses: class numbers (n, ...)."""
    names = [str(i) for i in range(len(masks))]
    counts = np.stack([count_pixels(guess, mask, classes) for mask, guess in zip(masks, guesses, strict=True)])
    columns = [names, units or names, [0] * len(names), *(counts[:, i].tolist() for i in range(3))]
    return pa.table([pa.array(c, t) for c, t in zip(columns, SEGMENTATION_PREDICTIONS.types, strict=True)],
                    schema=SEGMENTATION_PREDICTIONS)  # fmt: skip


def with_objects(table: pa.Table, truths: np.ndarray, guesses: np.ndarray) -> pa.Table:
    """The table with the counts of every metric of objects: numbered objects (n, h, w)."""
    found = [overlap(guess, truth) for truth, guess in zip(truths, guesses, strict=True)]
    for name, metric in OBJECTS.items():
        counts = [metric.count(one).tolist() for one in found]
        table = table.append_column(name, pa.array(counts, pa.list_(pa.float64())))
    return table.cast(predictions_schema("segmentation", list(OBJECTS)))


def object_score(name: str, *images: tuple[list, list]) -> float:
    """The metric of some images, each (truth, prediction) as rows of numbers."""
    counts = [OBJECTS[name].count(overlap(np.array(guess), np.array(truth))) for truth, guess in images]
    return float(OBJECTS[name].value(np.sum(counts, axis=0)[None])[0])


def random_objects(rng: np.random.Generator, n: int) -> np.ndarray:
    """Numbered blobs: each quarter of an image (n, EDGE, EDGE) holds a part of one object, or none."""
    numbers = rng.integers(0, 5, (n, 2, 2)).repeat(EDGE // 2, 1).repeat(EDGE // 2, 2)
    return numbers * (rng.random((n, EDGE, EDGE)) > 0.3)


def random_classified(seed: int, n: int = 40, classes: int = 3) -> tuple[np.ndarray, np.ndarray, pa.Table]:
    """Labels, scores and the table; of odd seeds many scores are equal, and several rows are of one unit."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(classes, size=n - classes)])
    scores = rng.dirichlet(np.ones(classes), n).round(1 if seed % 2 else 6).astype(np.float32)
    return labels, scores, classified(labels, scores)


def random_segmented(seed: int, n: int = 6, classes: int = 3) -> tuple[np.ndarray, np.ndarray, pa.Table]:
    rng = np.random.default_rng(seed)
    masks, guesses = rng.integers(classes, size=(2, n, 50))
    return masks, guesses, segmented(masks, guesses, classes)


def random_table(kind: str, seed: int, n: int, classes: int) -> pa.Table:
    """Predictions of n samples of some units, with the counts of every metric of their kind."""
    rng = np.random.default_rng(seed)
    units = [f"u{i}" for i in rng.integers(0, max(1, n // 2), n)]
    if kind == "classification":
        _, _, table = random_classified(seed, n, classes)
    else:
        table = with_objects(random_segmented(seed, n, classes)[2], random_objects(rng, n), random_objects(rng, n))
    return table.set_column(1, "unit", pa.array(units))
