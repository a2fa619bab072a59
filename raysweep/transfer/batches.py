"""Training batches as a function of (seed, step): which samples, which crop, which turn, which colours."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from raysweep.randomness import generator
from raysweep.transfer.ahead import ahead
from raysweep.transfer.images import Images


@dataclass(frozen=True)
class Batch:
    pixels: np.ndarray  # uint8 (batch, px, px, 3)
    targets: np.ndarray  # labels, int64 (batch,), or masks (batch, px, px) of the type that they are stored in
    colours: np.ndarray  # float32 (batch, 3) in [-1, 1]: change of brightness, contrast and saturation


class Batches:
    """Samples in a new random order each epoch; a batch goes on into the next epoch where one ends."""

    def __init__(self, images: Images, train: Sequence[int], *, batch: int, seed: int) -> None:
        self._images, self._train, self._batch, self._seed = images, list(train), batch, seed
        self._orders: dict[int, np.ndarray] = {}  # of the last few epochs

    def indices(self, step: int) -> list[int]:
        """Samples of a step, counted from 0."""
        n = len(self._train)
        places = range(step * self._batch, (step + 1) * self._batch)
        orders = {epoch: self._order(epoch) for epoch in {p // n for p in places}}
        return [self._train[orders[place // n][place % n]] for place in places]

    def at(self, step: int) -> Batch:
        """The batch of a step, counted from 0. Raises WorkError when a sample cannot be read."""
        px = self._images.task.card.px
        pixels, targets, colours = [], [], []
        for slot, index in enumerate(self.indices(step)):
            rng = generator(self._seed, "augment", step, slot)
            picture = self._images.get(index)
            height, width = picture.image.shape[:2]
            y, x = rng.integers(height - px + 1), rng.integers(width - px + 1)
            turn = int(rng.integers(8))
            colours.append(rng.uniform(-1, 1, 3))
            pixels.append(_turned(picture.image[y : y + px, x : x + px], turn))
            if picture.mask is None:
                targets.append(np.asarray(self._images.task.samples[index].label, np.int64))
            else:
                targets.append(_turned(picture.mask[y : y + px, x : x + px], turn))
        return Batch(np.stack(pixels), np.stack(targets), np.stack(colours).astype(np.float32))

    def steps(self, start: int, stop: int, *, threads: int) -> Generator[Batch, None, None]:
        """The batches of steps start to stop - 1, those to come made in background threads: `at` of each, to the bit.

        Training never waits for a picture that could have been decoded before.
        """
        return ahead(self.at, range(start, stop), threads=threads)

    def _order(self, epoch: int) -> np.ndarray:
        """Kept: of a hundred thousand samples it takes as long as many pictures. Threads may make it twice, alike."""
        order = self._orders.get(epoch)
        if order is None:
            order = generator(self._seed, "order", epoch).permutation(len(self._train))
            self._orders = {e: o for e, o in self._orders.items() if e >= epoch - 2} | {epoch: order}
        return order


def _turned(array: np.ndarray, turn: int) -> np.ndarray:
    """One of the eight symmetries of the square: quarter turns, and for turn >= 4 a mirror image first."""
    return np.rot90(array[:, ::-1] if turn >= 4 else array, turn % 4)
