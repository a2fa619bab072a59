"""The pixels of one sample, at the scale that its card works at."""

import numpy as np
from PIL import Image

from raysweep.errors import RequestError, WorkError, reason_of
from raysweep.tasks.task import Task


def read_sample(task: Task, index: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The image, uint8 (h, w, 3), and its class ids, uint8 (h, w), or None for classification.

    The image is turned as its EXIF orientation says, the mask is as it stands; `IGNORED` (`raysweep.tasks.masks`) is
    the id of a pixel that counts nowhere. Both are rescaled by `mpp / at_mpp` of the card, each edge rounded to whole
    pixels: images by Pillow's bicubic kernel, widened when shrinking so that nothing aliases (the kernel of tiling),
    masks to the nearest pixel.
    Raises WorkError naming the file when it cannot be read or no longer fits its mask.
    """
    card, sample = task.card, task.samples[index]
    try:
        picture = task.reader.image(sample.image)
    except Exception as error:  # decoders raise whatever a broken file leads them to
        raise WorkError(f"task {card.name}: {task.root / sample.image} cannot be read: {reason_of(error)}") from error
    size = _scaled(task, picture.size)
    mask = None
    if sample.mask is not None:
        try:
            ids = task.masks.class_ids(task.reader.mask(sample), card.classes)
        except Exception as error:
            raise WorkError(
                f"task {card.name}: {task.root / sample.mask} cannot be read: {reason_of(error)}"
            ) from error
        if ids.shape != (picture.height, picture.width):
            raise WorkError(f"task {card.name}: {task.root / sample.mask} does not have the size of its image")
        mask = np.array(Image.fromarray(ids).resize(size, Image.Resampling.NEAREST))
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    return np.array(picture), mask


def read_instances(task: Task, index: int) -> np.ndarray:
    """Which object each pixel belongs to, int32 (h, w), 0: none; at the scale and of the size of `read_sample`.

    Raises RequestError for a task whose masks do not tell objects apart, WorkError naming the file when it cannot be
    read.
    """
    card, sample = task.card, task.samples[index]
    if sample.mask is None or not task.reader.numbered:
        raise RequestError(
            f"card {card.name}: its masks do not tell objects apart; set layout.masks.instances if values do"
        )
    try:
        numbers = task.reader.instances(sample).astype(np.int32)
    except Exception as error:  # as above
        raise WorkError(f"task {card.name}: {task.root / sample.mask} cannot be read: {reason_of(error)}") from error
    size = _scaled(task, (numbers.shape[1], numbers.shape[0]))
    return np.array(Image.fromarray(numbers).resize(size, Image.Resampling.NEAREST))


def _scaled(task: Task, size: tuple[int, int]) -> tuple[int, int]:
    """Width and height at the scale that the card works at."""
    card = task.card
    scale = card.mpp / card.at_mpp if card.mpp and card.at_mpp else 1.0
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
