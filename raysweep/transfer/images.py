"""The samples of a task as networks see them: at least px on both edges, decoded once, kept within a bound."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from raysweep.storage import Storage, fingerprint
from raysweep.tasks.read import read_sample
from raysweep.tasks.task import Task

_CACHE_BYTES = 512 * 2**20  # of pixels, per process


@dataclass(frozen=True)
class Picture:
    """One sample. Both edges are at least the card's px."""

    image: np.ndarray  # uint8 (h, w, 3)
    mask: np.ndarray | None  # uint8 (h, w), class numbers
    height: int  # of the sample itself, at the top left; the rest is padding
    width: int

    @property
    def nbytes(self) -> int:
        return self.image.nbytes + (0 if self.mask is None else self.mask.nbytes)


class Images:
    """Samples of one task by index. What fits stays in memory; the rest is read again each time."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._kept: dict[int, Picture] = {}
        self.nbytes = 0

    def get(self, index: int) -> Picture:
        """The sample at an index of `task.samples`. Raises WorkError, naming the file, when it cannot be read."""
        picture = self._kept.get(index)
        if picture is None:
            picture = self._read(index)
            if sum(images.nbytes for images in _opened.values()) + picture.nbytes <= _CACHE_BYTES:
                self._kept[index] = picture
                self.nbytes += picture.nbytes
        return picture

    def forget(self) -> None:
        """Drop every decoded sample."""
        self._kept.clear()
        self.nbytes = 0

    def _read(self, index: int) -> Picture:
        card = self.task.card
        image, mask = read_sample(self.task, index)
        height, width = image.shape[:2]
        if card.kind == "classification":
            image = _enlarge(image, card.px)
            return Picture(image, None, *image.shape[:2])
        return Picture(_pad(image, card.px), None if mask is None else _pad(mask, card.px), height, width)


_opened: dict[str, Images] = {}  # by what and where the task is


def open_images(folder: Storage, data: str) -> Images:
    """The samples of the task saved in a folder, its files below `data`.

    The same object, with what it keeps, while the task is the same.

    A trial actor runs many jobs of few tasks: decoding again for each would cost more than training.
    """
    task = Task.load(folder, data)
    key = fingerprint([task.inputs(), task.root])
    if key not in _opened:
        for other in _opened.values():
            other.forget()  # a new task gets the whole bound
        _opened[key] = Images(task)
    return _opened[key]


def _enlarge(image: np.ndarray, px: int) -> np.ndarray:
    """Bicubic, so that the short edge is px; larger images stay as they are. The aspect is kept."""
    height, width = image.shape[:2]
    short = min(height, width)
    if short >= px:
        return image
    size = (max(px, round(width * px / short)), max(px, round(height * px / short)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def _pad(array: np.ndarray, px: int) -> np.ndarray:
    """Mirror at the lower and right edge up to px."""
    height, width = array.shape[:2]
    if height >= px and width >= px:
        return array
    missing = [(0, max(0, px - height)), (0, max(0, px - width))] + [(0, 0)] * (array.ndim - 2)
    return np.pad(array, missing, mode="reflect")
