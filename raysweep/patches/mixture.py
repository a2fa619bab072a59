"""Which patches of which sources make up each step of training: a function of (seed, epoch, step), whoever asks."""

from collections.abc import Sequence

import numpy as np

from raysweep.errors import RequestError
from raysweep.patches.order import Order
from raysweep.randomness import generator

_LANES = 16  # places of a batch are dealt to so many lanes, and each reads its own part of every source
_LAPS = 2**32  # more than there are epochs
_BLOCK = 2**20  # places whose sources are drawn and held at once, however long an epoch is


class Mixture:
    """The order in which training draws from one source or several.

    One source is passed over as `Order` says. Of several, each place of a batch first draws its source by weight, then
    takes the next row of that source's own pass in its lane; a source that runs out begins another pass. An epoch is
    as many steps as all rows together would fill. A source of few rows and a large weight is so seen more often.
    """

    def __init__(self, rows: Sequence[Sequence[int]], weights: Sequence[float], *, batch: int, seed: int) -> None:
        """`rows` holds, for each source, the number of usable rows of each row group; `weights` need not sum to 1.

        Raises RequestError when all sources together have fewer rows than one batch.
        """
        self.batch, self._seed = batch, seed
        self._single = Order(rows[0], batch=batch, seed=seed) if len(rows) == 1 else None
        totals = [int(np.sum(of, dtype=np.int64)) for of in rows]
        if sum(totals) < batch:
            raise RequestError(
                f"batch: {batch} patches make a step but there are only {sum(totals)}; choose a smaller batch"
            )
        self.steps = sum(totals) // batch  # of an epoch
        self._totals = totals
        self._weights = np.cumsum(np.asarray(weights, dtype=np.float64) / np.sum(weights))
        self._orders = [] if self._single else [Order(of, batch=1, seed=seed, windows=4 * _LANES) for of in rows]
        self._block_steps = max(1, _BLOCK // batch)
        self._before: list[np.ndarray] = []  # of an epoch's blocks: draws of each source in each lane before them
        self._drawn: tuple[tuple[int, int], np.ndarray, np.ndarray] | None = None
        self._epoch = -1

    def places(self, epoch: int, step: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Places `start` to `stop` (default: all) of a step's batch: int64 (n, 3), source, row group and row in it."""
        stop = self.batch if stop is None else stop
        if self._single:
            pairs = self._single.places(epoch, step, start, stop)
            return np.concatenate([np.zeros((len(pairs), 1), np.int64), pairs], axis=1)
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} of an epoch of {self.steps}")
        block, inside = divmod(step, self._block_steps)
        drawn, turns = self._draws(epoch, block)
        return np.array(
            [self._row(epoch, int(drawn[inside, at]), int(turns[inside, at]), at) for at in range(start, stop)]
        )

    def groups_to_keep(self, start: int, stop: int) -> int:
        """How many row groups to keep for a slice of the steps, so that few are read more than once."""
        if self._single:
            return self._single.groups_to_keep(start, stop)
        lanes = min(_LANES, stop - start)
        return lanes * sum(order.groups_to_keep(0, 1) for order in self._orders)

    def _draws(self, epoch: int, block: int) -> tuple[np.ndarray, np.ndarray]:
        """A block's sources, int16 (steps, batch), and which draw of its source in its lane each is, int64.

        What came before a block is counted once an epoch, block by block, so that a resume may begin in any of them.
        """
        if self._epoch != epoch:
            self._epoch, self._before = epoch, [np.zeros((len(self._totals), _LANES), dtype=np.int64)]
        while len(self._before) <= block:
            drawn = self._sources(epoch, len(self._before) - 1)
            counts = np.zeros_like(self._before[0])
            for source in range(len(self._totals)):
                hits = (drawn == source).sum(axis=0)
                np.add.at(counts[source], self._lane(source, np.arange(self.batch)), hits)
            self._before.append(self._before[-1] + counts)
        if self._drawn is None or self._drawn[0] != (epoch, block):
            drawn = self._sources(epoch, block)
            turns = np.zeros(drawn.shape, dtype=np.int64)
            for source in range(len(self._totals)):
                lanes = self._lane(source, np.arange(self.batch))
                for lane in np.unique(lanes):
                    columns = lanes == lane
                    hit = drawn[:, columns] == source
                    turn = self._before[block][source, lane] + hit.ravel().cumsum().reshape(hit.shape) - 1
                    turns[:, columns] = np.where(hit, turn, turns[:, columns])
            self._drawn = ((epoch, block), drawn, turns)
        return self._drawn[1:]

    def _sources(self, epoch: int, block: int) -> np.ndarray:
        """The source of every place of a block's steps, int16 (steps, batch)."""
        steps = min(self._block_steps, self.steps - block * self._block_steps)
        uniform = generator(self._seed, "sources", epoch, block).random((steps, self.batch))
        drawn = np.minimum(np.searchsorted(self._weights, uniform, side="right"), len(self._totals) - 1)
        return drawn.astype(np.int16)

    def _lanes(self, source: int) -> int:
        return min(_LANES, self.batch, self._totals[source])  # each has a row at least

    def _lane(self, source: int, at: np.ndarray) -> np.ndarray:
        """The lane of a source that places of a batch belong to."""
        return at * self._lanes(source) // self.batch

    def _row(self, epoch: int, source: int, turn: int, at: int) -> tuple[int, int, int]:
        """The row that place `at` takes when it is its lane's draw number `turn` of a source in this epoch."""
        total, lanes = self._totals[source], self._lanes(source)
        lane = at * lanes // self.batch
        begin, end = total * lane // lanes, total * (lane + 1) // lanes
        lap, inside = divmod(turn, end - begin)
        # each lap of an epoch is a pass in an order of its own
        group, row = self._orders[source].places(epoch + lap * _LAPS, begin + inside)[0]
        return source, int(group), int(row)
