"""Training batches as a function of (seed, step): which samples, which crop, which turn, which colours."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raysweep.randomness import generator
from raysweep.transfer.images import Images


@dataclass(frozen=True)
class Batch:
    pixels: np.ndarray  # uint8 (batch, px, px, 3)
    targets: np.ndarray  # int64: labels (batch,), or masks (batch, px, px)
    colours: np.ndarray  # float32 (batch, 3) in [-1, 1]: change of brightness, contrast and saturation


class Batches:
    """Samples in a new random order each epoch; a batch goes on into the next epoch where one ends."""

    def __init__(self, images: Images, train: Sequence[int], *, batch: int, seed: int) -> None:
        self._images, self._train, self._batch, self._seed = images, list(train), batch, seed

    def indices(self, step: int) -> list[int]:
        """Samples of a step, counted from 0."""
        n = len(self._train)
        places = range(step * self._batch, (step + 1) * self._batch)
        orders = {epoch: generator(self._seed, "order", epoch).permutation(n) for epoch in {p // n for p in places}}
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
                targets.append(np.asarray(self._images.task.samples[index].label))
            else:
                targets.append(_turned(picture.mask[y : y + px, x : x + px], turn))
        return Batch(np.stack(pixels), np.stack(targets).astype(np.int64), np.stack(colours).astype(np.float32))


def _turned(array: np.ndarray, turn: int) -> np.ndarray:
    """One of the eight symmetries of the square: quarter turns, and for turn >= 4 a mirror image first."""
    return np.rot90(array[:, ::-1] if turn >= 4 else array, turn % 4)
