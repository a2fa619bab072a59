"""The steps of a training, prepared ahead of it: in threads of the worker, or by Ray Data on other machines."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import torch

from raysweep.patches.mixture import Mixture
from raysweep.patches.recipe import Recipe
from raysweep.patches.views import colour_views
from raysweep.pretrain.batch import Batch
from raysweep.pretrain.reader import Prepared, Reader

_AHEAD = 2  # steps that are prepared while one is computed


class Loader(Protocol):
    """Prepares one rank's share of every step from `start` to `stop`, in order."""

    def steps(self, start: int, stop: int) -> Iterator[Prepared]:
        """Prepared shares; a step counts over all epochs."""


class ThreadLoader:
    """Reads, decodes and crops in threads of the worker itself."""

    def __init__(
        self, reader: Reader, mixture: Mixture, *, share: tuple[int, int], threads: int = 1, pin: bool = False
    ) -> None:
        self._reader, self._mixture, self._share = reader, mixture, share
        self._threads, self._pin = threads, pin

    def steps(self, start: int, stop: int) -> Iterator[Prepared]:
        with ThreadPoolExecutor(1) as ahead, ThreadPoolExecutor(self._threads) as painters:
            pending = deque(
                ahead.submit(self._step, step, painters) for step in range(start, min(start + _AHEAD, stop))
            )
            try:
                for step in range(start, stop):
                    made = pending.popleft().result()
                    if step + _AHEAD < stop:
                        pending.append(ahead.submit(self._step, step + _AHEAD, painters))
                    yield made
            finally:
                for left in pending:
                    left.cancel()

    def _step(self, step: int, painters: ThreadPoolExecutor) -> Prepared:
        epoch, inside = divmod(step, self._mixture.steps)
        places = self._mixture.places(epoch, inside, *self._share)
        return self._reader.read(epoch, places, painters.map, self._threads, self._pin)


@dataclass(frozen=True)
class Painter:
    """Makes batches of prepared shares: colours the crops, on the device that trains."""

    recipes: Sequence[Recipe]
    seed: int
    mean: Sequence[float]
    std: Sequence[float]
    device: torch.device

    def batch(self, made: Prepared, epoch: int) -> Batch:
        """The views of a share, normalised, and what is known of its patches."""
        keys = made.keys.tolist()
        views = []
        for view, (crops, recipe) in enumerate(zip(made.crops, self.recipes, strict=True)):
            pixels = crops.to(self.device, non_blocking=True)
            view_of = colour_views(
                pixels, keys, recipe, seed=self.seed, epoch=epoch, view=view, mean=self.mean, std=self.std
            )
            views.append(view_of.to(memory_format=torch.channels_last))  # up to 1.7 times as fast, on CPUs too
        labels, sources = (t.to(self.device, non_blocking=True) for t in (made.labels, made.sources))
        return Batch(views, labels, sources, made.keys, self.seed, epoch)
