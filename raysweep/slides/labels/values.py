"""What the integers of a mask slide mean."""

from collections.abc import Mapping, Sequence

import numpy as np

from raysweep.errors import WorkError
from raysweep.patches.schema import NO_CLASS
from raysweep.slides.labels.spec import IGNORE, LabelSpec

_UNKNOWN = -1


class ValueMap:
    """From the values of one mask slide to ids of classes."""

    def __init__(self, spec: LabelSpec, columns: Mapping[str, str], classes: Sequence[str], path: object) -> None:
        """Take the values for the slide with these columns of the slide table.

        Args:
            spec: its `values`.
            columns: of the slide.
            classes: names in the order of their ids.
            path: of the mask, for messages.

        Raises WorkError when `values` does not know the slide's provider.
        """
        key = columns.get(spec.values_by, "") if spec.values_by is not None else ""
        maps = spec.value_maps()
        if key not in maps:
            raise WorkError(
                f"mask {path}: the column {spec.values_by} is {key or 'empty'}, which labels.values does not name; "
                f"it has {', '.join(maps)}"
            )
        meanings = {
            value: NO_CLASS if name == IGNORE else classes.index(name)
            for name, values in maps[key].items()
            for value in values
        }
        self._path = path
        self._ids = np.full(max(meanings) + 2, _UNKNOWN, np.int16)  # the last stands for everything above
        for value, index in meanings.items():
            self._ids[value] = index

    def ids(self, values: np.ndarray) -> np.ndarray:
        """The ids of an integer array of values, uint8 of the same shape, 255 where there is no class.

        Raises WorkError for a value that no rule names.
        """
        ids = self._ids.take(values, mode="clip")
        if (ids == _UNKNOWN).any():
            raise WorkError(
                f"mask {self._path}: no rule names the value {int(values[ids == _UNKNOWN].min())}; "
                "add it to labels.values, under ignore if it is no class"
            )
        return ids.astype(np.uint8)
