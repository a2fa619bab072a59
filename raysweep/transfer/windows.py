"""Windows of px edge that cover an image, and putting what a network says about them together again."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from raysweep.transfer.ahead import ahead
from raysweep.transfer.images import Images, Picture

_AHEAD = 2  # pictures that are decoded while the network looks at earlier ones

Forward = Callable[[np.ndarray], np.ndarray]  # uint8 (batch, px, px, 3) -> float (batch, ...)


def window_origins(height: int, width: int, px: int) -> list[tuple[int, int]]:
    """Top-left corners (y, x) of the fewest windows that cover an image, evenly spread and all inside it.

    Steps are at most px. Both edges of the image must be at least px.
    """
    return [(y, x) for y in _starts(height, px) for x in _starts(width, px)]


def average_windows(images: Images, indices: Sequence[int], forward: Forward, *, batch: int) -> np.ndarray:
    """The mean over each sample's windows of what `forward` gives: float32 (n, d) from (batch, d)."""
    means: np.ndarray | None = None
    current, total, count = -1, np.empty(0), 0
    for outputs, owners in _forwarded(images, indices, forward, batch):
        if means is None:
            means = np.empty((len(indices), outputs.shape[-1]), np.float32)
        for output, (position, *_) in zip(outputs, owners, strict=True):
            if position != current:
                current, total, count = position, np.zeros(len(output)), 0
            total += output  # float64
            count += 1
            means[position] = total / count
    return np.empty((0, 0), np.float32) if means is None else means


def stitch_windows(
    images: Images, indices: Sequence[int], forward: Forward, *, batch: int
) -> Iterator[tuple[Picture, np.ndarray]]:
    """Each sample, in order, with its map float32 (height, width, d), from windows (batch, px, px, d).

    Where windows overlap the map is their mean; padding is cut off.
    """
    px = images.task.card.px
    current = -1
    picture: Picture | None = None
    total, count = np.empty(0), np.empty(0)
    for outputs, owners in _forwarded(images, indices, forward, batch):
        for output, (position, owner, y, x) in zip(outputs, owners, strict=True):
            if position != current:
                if picture is not None:
                    yield picture, (total / count)[: picture.height, : picture.width]
                current, picture = position, owner
                total = np.zeros((*picture.image.shape[:2], output.shape[-1]), np.float32)
                count = np.zeros((*picture.image.shape[:2], 1), np.float32)
            total[y : y + px, x : x + px] += output
            count[y : y + px, x : x + px] += 1
    if picture is not None:
        yield picture, (total / count)[: picture.height, : picture.width]


def _starts(size: int, px: int) -> list[int]:
    n = math.ceil(size / px)
    return [0] if n == 1 else [round(i * (size - px) / (n - 1)) for i in range(n)]


def _forwarded(
    images: Images, indices: Sequence[int], forward: Forward, batch: int
) -> Iterator[tuple[np.ndarray, list[tuple[int, Picture, int, int]]]]:
    """Outputs of full batches of windows, with (position in indices, its picture, y, x) of each.

    Each picture is got once, ahead of its turn.
    """
    px = images.task.card.px
    pixels: list[np.ndarray] = []
    owners: list[tuple[int, Picture, int, int]] = []
    for position, picture in enumerate(ahead(images.get, indices, threads=_AHEAD)):
        for y, x in window_origins(picture.image.shape[0], picture.image.shape[1], px):
            pixels.append(picture.image[y : y + px, x : x + px])
            owners.append((position, picture, y, x))
            if len(pixels) == batch:
                yield forward(np.stack(pixels)), owners
                pixels, owners = [], []
    if pixels:
        yield forward(np.stack(pixels)), owners
