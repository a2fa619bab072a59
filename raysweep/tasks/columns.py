"""Units and classes of all samples as arrays: sets of 10^5 images and more are divided and drawn from in numpy."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from raysweep.randomness import Names
from raysweep.tasks.sample import Sample


class Columns:
    """The samples of a task, N of them, as columns.

    units: names of the units, sorted. unit: int64 (N,), the unit of each sample.
    strata: the different `Sample.classes`. stratum: int64 (N,), that of each sample. shows: bool (strata, C).
    """

    def __init__(self, samples: Sequence[Sample], n_classes: int) -> None:
        self._samples = samples
        self.units = sorted({sample.unit for sample in samples})
        code = {unit: at for at, unit in enumerate(self.units)}
        self.unit = np.array([code[sample.unit] for sample in samples], dtype=np.int64)
        strata: dict[tuple[int, ...], int] = {}
        self.stratum = np.array([strata.setdefault(sample.classes, len(strata)) for sample in samples], dtype=np.int64)
        self.strata = list(strata)
        self.shows = np.zeros((len(strata), n_classes), dtype=bool)
        for classes, row in strata.items():
            self.shows[row, [int(c) for c in classes]] = True

    @cached_property
    def ids(self) -> Names:
        """The samples' ids, to be hashed."""
        return Names(sample.id for sample in self._samples)

    @cached_property
    def unit_names(self) -> Names:
        """The units' names, to be hashed."""
        return Names(self.units)

    def present(self, indices: np.ndarray) -> np.ndarray:
        """The units of some samples, each once, ascending."""
        return np.flatnonzero(np.bincount(self.unit[indices], minlength=len(self.units)))

    def classes(self, indices: np.ndarray) -> np.ndarray:
        """Samples among some that show each class, int64 (C,)."""
        return np.bincount(self.stratum[indices], minlength=len(self.strata)) @ self.shows.astype(np.int64)

    def counts(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`present(indices)`, and int64 (U, C + 1): of each, the samples that show each class, and all its samples."""
        units = self.present(indices)
        unit, shown = self.unit[indices], self.shows[self.stratum[indices]]
        columns = [np.bincount(unit[shown[:, c]], minlength=len(self.units))[units] for c in range(shown.shape[1])]
        columns.append(np.bincount(unit, minlength=len(self.units))[units])
        return units, np.stack(columns, axis=1).astype(np.int64)

    def by_luck(self, units: np.ndarray, stream: tuple) -> np.ndarray:
        """The units in the order of `stable_hash(*stream, name)`."""
        return units[np.lexsort((units, self.unit_names.hashes(stream, units)))]
