"""Predicted masks of a few test images, kept so that people can look at them."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from raysweep.tasks.masks import IGNORED, encode_mask
from raysweep.tasks.sample import Sample

MASKS_SCHEMA = pa.schema(
    [
        ("sample", pa.string()),
        ("unit", pa.string()),
        ("fold", pa.int32()),  # the fold whose model predicted
        ("mask", pa.binary()),  # PNG of the image's size: class ids; 255 where the truth is none, as it was counted
    ]
)


class KeptMasks:
    """Is offered every predicted mask and keeps, as PNG, those of the samples that are wanted."""

    def __init__(self, wanted: Iterable[int]) -> None:
        """wanted: indices into the samples of the task that is predicted."""
        self._wanted = frozenset(wanted)
        self._rows: list[tuple[Sample, bytes]] = []

    def offer(self, index: int, sample: Sample, predicted: np.ndarray, truth: np.ndarray) -> None:
        """Class ids (h, w) of a sample, truth uint8, IGNORED where a pixel counts nowhere."""
        if index in self._wanted:
            ids = np.where(truth == IGNORED, IGNORED, predicted).astype(np.uint8)
            self._rows.append((sample, encode_mask(ids)))

    def table(self, *, fold: int) -> pa.Table:
        """The rows of MASKS_SCHEMA, in the order in which they came, by the model of a fold."""
        rows = [{"sample": s.id, "unit": s.unit, "fold": fold, "mask": mask} for s, mask in self._rows]
        return pa.Table.from_pylist(rows, schema=MASKS_SCHEMA)
