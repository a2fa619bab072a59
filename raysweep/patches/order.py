"""Which patches make up each step of training: a function of (seed, epoch, step), whoever asks."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from raysweep.errors import RequestError
from raysweep.randomness import generator

_LANE_ROWS = 16  # rows that a lane gives to each step, at least
_WINDOW_GROUPS = 4  # row groups that a lane shuffles together


class Order:
    """The order in which training passes over a patch set, by row group and row.

    Each epoch lays the row groups out in a random order. That line of rows is cut into equal *lanes*, and each
    step takes some rows of every lane, so a rank that works on a slice of the steps' rows reads the row groups of
    its own lanes only. Inside a lane, rows are shuffled within windows of a few row groups, which is enough where
    neighbours in a shard are strangers already. An epoch passes at most once over each row and leaves out fewer
    rows than one batch, others each time.
    """

    def __init__(self, rows: Sequence[int], *, batch: int, seed: int, windows: int | None = None) -> None:
        """`rows` holds the number of rows of each row group; `batch` rows make a step; `windows` are remembered.

        Raises RequestError when there are fewer rows than one batch.
        """
        self._rows = np.asarray(rows, dtype=np.int64)
        self._seed, self.batch = seed, batch
        total = int(self._rows.sum())
        if total < batch:
            raise RequestError(f"batch: {batch} patches make a step but there are only {total}; choose a smaller batch")
        self.steps = total // batch  # of an epoch
        self._lane_rows = next(n for n in range(min(_LANE_ROWS, batch), batch + 1) if batch % n == 0)
        self._remembered = windows or 4 * (batch // self._lane_rows) + 4
        self._epoch: tuple[int, np.ndarray, np.ndarray, np.ndarray] | None = None
        self._windows: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()

    def places(self, epoch: int, step: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Places `start` to `stop` (default: all) of a step's batch: int64 (n, 2), row group and row in it."""
        stop = self.batch if stop is None else stop
        width = self._lane_rows
        parts = []
        for lane in range(start // width, -(-stop // width)):
            of_lane = self._lane(epoch, lane, step * width, (step + 1) * width)
            first = lane * width
            parts.append(of_lane[max(start - first, 0) : stop - first])
        return np.concatenate(parts)

    def groups_to_keep(self, start: int, stop: int) -> int:
        """How many row groups to keep for a slice of the steps, so that few are read more than once an epoch.

        A window of each lane, and one more for lanes that go on to their next window. Where all do so in the same
        step, some are read again, which costs little beside decoding them.
        """
        lanes = -(-stop // self._lane_rows) - start // self._lane_rows
        return lanes * (_WINDOW_GROUPS + 1)

    def _lane(self, epoch: int, lane: int, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop` of a lane, counted in the shuffled lane."""
        groups, ends, cuts = self._line(epoch)
        begin = lane * self._lane_rows * self.steps
        start, stop, end = begin + start, begin + stop, begin + self._lane_rows * self.steps
        parts = []
        while start < stop:
            after = int(np.searchsorted(cuts, start, side="right"))  # the window that holds `start`
            low = max(begin, int(cuts[after - 1]) if after else 0)
            high = min(end, int(cuts[after]))
            shuffled = self._window(epoch, low, high, groups, ends)
            parts.append(shuffled[start - low : stop - low])
            start = min(stop, high)
        return np.concatenate(parts)

    def _window(self, epoch: int, low: int, high: int, groups: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """The places from `low` to `high` of an epoch's line, shuffled."""
        key = (epoch, low)
        if key not in self._windows:
            line = low + generator(self._seed, "window", epoch, low).permutation(high - low)
            at = np.searchsorted(ends, line, side="right")
            sizes = self._rows[groups[at]]
            inside = line - (ends[at] - sizes)
            turn = generator(self._seed, "turn", epoch).integers(2**31)  # a group cut by the epoch's end: other rows
            self._windows[key] = np.stack([groups[at], (inside + turn) % sizes], axis=1)
            while len(self._windows) > self._remembered:
                self._windows.popitem(last=False)
        self._windows.move_to_end(key)
        return self._windows[key]

    def _line(self, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """An epoch's row groups in order, where each ends, and where windows end."""
        if self._epoch is None or self._epoch[0] != epoch:
            groups = generator(self._seed, "order", epoch).permutation(len(self._rows))
            groups = groups[self._rows[groups] > 0]
            ends = np.cumsum(self._rows[groups])
            cuts = np.unique(np.append(ends[_WINDOW_GROUPS - 1 :: _WINDOW_GROUPS], ends[-1]))
            self._epoch = (epoch, groups, ends, cuts)
        return self._epoch[1:]
