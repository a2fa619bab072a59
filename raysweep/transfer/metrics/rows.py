"""A table of predictions as arrays."""

from functools import cached_property

import numpy as np
import pyarrow as pa


class Rows:
    """The rows of a table of `predictions_schema(kind)`; at least one. What is asked for is decoded once."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._lists: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return self._table.num_rows

    def matrix(self, column: str) -> np.ndarray:
        """A list column whose lists are equally long: float64 (n, length)."""
        if column not in self._lists:
            flat = self._table[column].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            self._lists[column] = flat.astype(np.float64).reshape(len(self), -1)
        return self._lists[column]

    @cached_property
    def n_classes(self) -> int:
        return self.matrix("scores" if "scores" in self._table.column_names else "tp").shape[1]

    @cached_property
    def labels(self) -> np.ndarray:
        """Class number of each row (n,)."""
        return self._table["label"].to_numpy()

    @property
    def scores(self) -> np.ndarray:
        """float64 (n, classes)."""
        return self.matrix("scores")

    @cached_property
    def guesses(self) -> np.ndarray:
        """The class of the highest score (n,), the first of equals."""
        return self.scores.argmax(1)

    @cached_property
    def units(self) -> np.ndarray:
        """Number of each row's unit (n,), from 0."""
        return self._codes("unit")

    @cached_property
    def folds(self) -> np.ndarray:
        """Number of the fold that predicted each row (n,), from 0 without gaps."""
        return self._codes("fold")

    @cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Number of each row's (unit, fold) pair (n,), and the first row of each pair."""
        _, first, of_row = np.unique(
            self.units.astype(np.int64) * self.n_folds + self.folds, return_index=True, return_inverse=True
        )
        return of_row, first

    @cached_property
    def n_folds(self) -> int:
        return int(self.folds.max()) + 1

    @cached_property
    def times_tested(self) -> np.ndarray:
        """How many folds tested each unit (n_units,)."""
        return np.bincount(self.units[self.pairs[1]])

    @cached_property
    def same_test(self) -> bool:
        """Whether there are several folds, and each tested the same samples."""
        if self.n_folds == 1:
            return False
        samples = self._codes("sample").astype(np.int64)
        tested = np.unique(samples * self.n_folds + self.folds)
        return len(tested) == len(self) == (int(samples.max()) + 1) * self.n_folds

    def _codes(self, column: str) -> np.ndarray:
        encoded = self._table[column].combine_chunks().dictionary_encode()
        return encoded.indices.to_numpy(zero_copy_only=False)
