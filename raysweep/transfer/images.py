"""The samples of a task as networks see them: at least px on both edges, decoded once on a machine within a bound."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from PIL import Image

from raysweep.storage import Storage, fingerprint
from raysweep.tasks.card import Card
from raysweep.tasks.further import as_tested
from raysweep.tasks.read import read_sample
from raysweep.tasks.task import Task
from raysweep.transfer.node_cache import NodeCache

_FORMAT = 1  # raise it when a Picture of the same file would be another
HELD_BYTES = 4 * 2**30  # of pixels, per task and machine
_TASKS = 4  # that a process holds open


@dataclass(frozen=True)
class Picture:
    """One sample, its arrays perhaps read-only. Both edges are at least the card's px."""

    image: np.ndarray  # uint8 (h, w, 3)
    mask: np.ndarray | None  # uint8 (h, w), class numbers
    height: int  # of the sample itself, at the top left; the rest is padding
    width: int


class Images:
    """Samples of one task by index. What fits is decoded once for all processes of a machine; the rest each time."""

    def __init__(self, task: Task, key: str) -> None:
        """`key` names what and where the task is, in letters and digits."""
        self.task = task
        self._cache = NodeCache(key, limit=HELD_BYTES)

    def get(self, index: int) -> Picture:
        """The sample at an index of `task.samples`; threads may call it.

        Raises WorkError, naming the file, when it cannot be read.
        """
        kept = self._cache.get(index)
        if kept is not None:
            values: dict[str, Any] = {f.name: kept.get(f.name) for f in fields(Picture)}
            return Picture(**{name: v.item() if v is not None and not v.ndim else v for name, v in values.items()})
        picture = read_picture(self.task, index)
        found = {f.name: getattr(picture, f.name) for f in fields(Picture)}
        self._cache.put(index, {name: np.asarray(value) for name, value in found.items() if value is not None})
        return picture


def read_picture(task: Task, index: int) -> Picture:
    """The sample at an index of `task.samples` as networks see it, read from its file. WorkError when it cannot be."""
    image, mask = read_sample(task, index)
    height, width = image.shape[:2]
    if task.card.kind == "classification":
        image = enlarge(image, task.card.px)
        return Picture(image, None, *image.shape[:2])
    return Picture(pad(image, task.card.px), None if mask is None else pad(mask, task.card.px), height, width)


_opened: dict[str, Images] = {}  # by what and where the task is, the last used at the end


def open_images(folder: Storage, data: str, like: Card | None = None) -> Images:
    """The samples of the task saved in a folder, its files below `data`. The same object while the task is the same.

    like: the card of a task whose further test set this is: it is seen at that one's px (see `tested_like`).

    A trial actor runs many jobs of few tasks, and several actors share them: decoding again for each would cost more
    than training, and keeping a copy in each more memory than there is.
    """
    task = Task.load(folder, data)
    task = task if like is None else as_tested(task, like)
    key = fingerprint([_FORMAT, task.inputs(), task.root])
    images = _opened.pop(key, None) or Images(task, key)
    _opened[key] = images
    if len(_opened) > _TASKS:
        del _opened[next(iter(_opened))]
    return images


def enlarge(image: np.ndarray, px: int) -> np.ndarray:
    """Bicubic, so that the short edge is px; larger images stay as they are. The aspect is kept."""
    height, width = image.shape[:2]
    short = min(height, width)
    if short >= px:
        return image
    size = (max(px, round(width * px / short)), max(px, round(height * px / short)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def pad(array: np.ndarray, px: int) -> np.ndarray:
    """Mirror at the lower and right edge up to px."""
    height, width = array.shape[:2]
    if height >= px and width >= px:
        return array
    missing = [(0, max(0, px - height)), (0, max(0, px - width))] + [(0, 0)] * (array.ndim - 2)
    return np.pad(array, missing, mode="reflect")
