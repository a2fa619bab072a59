"""Images in NumPy files, one row each, with a mask of one channel a class beside: PanNuke's folds."""

import os
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import Field, model_validator

from raysweep.errors import RequestError, WorkError
from raysweep.model import Model
from raysweep.patches.codec import MAX_PIXELS
from raysweep.stand_in import stand_in
from raysweep.tasks.card import Card
from raysweep.tasks.disk import top_of
from raysweep.tasks.layouts import layout
from raysweep.tasks.masks import MaskOptions
from raysweep.tasks.names import inside, split_name
from raysweep.tasks.reader import Reader
from raysweep.tasks.sample import Sample
from raysweep.tasks.templates import columns_of, fill


class Options(Model):
    """Which files. {split} stands for the words of `splits`."""

    images: str = Field(
        "Fold {split}/images/fold{split}/images.npy",
        description="the file of images, below the root: (rows, h, w, 3), whole numbers from 0 to 255 of any type",
    )
    mask: str = Field(
        "Fold {split}/masks/fold{split}/masks.npy",
        description="the file of masks: (rows, h, w, channels) of numbers of objects, each channel a class, where a "
        "pixel's value is the number of the first channel that has an object there, from 1 on, and 0 where none has",
    )
    splits: dict[str, str] = Field(
        {"1": "train", "2": "val", "3": "test"}, description="word for {split} in the file names -> train | val | test"
    )
    masks: MaskOptions = Field(
        MaskOptions(), description="values: what 0 and the channels are; several may be one class"
    )

    @model_validator(mode="after")
    def _fits(self) -> "Options":
        for key in ("images", "mask"):
            if columns_of(getattr(self, key)) != ["split"]:
                raise ValueError(f"{key}: needs {{split}} in it, and no other name in braces")
        return self


class _NpyReader(Reader):
    """Files are mapped into memory, not loaded: PanNuke's have 4 GB each."""

    containers = True

    def __init__(self, options: Options, root: Path) -> None:
        super().__init__(options, root)
        self._open: dict[tuple[int, str], np.ndarray] = {}

    def image(self, name: str) -> Image.Image:
        pixels = self._row(name)
        if not _are_bytes(pixels):
            raise WorkError("its values are no whole numbers from 0 to 255")
        return Image.fromarray(pixels.astype(np.uint8))

    def size(self, name: str) -> tuple[int, int]:
        shape = self._array(self.part(name)[0]).shape
        return shape[2], shape[1]

    def data(self, name: str) -> None:
        return None

    @property
    def numbered(self) -> bool:
        return True

    def mask(self, sample: Sample) -> np.ndarray:
        there = self._objects(sample) > 0
        return np.where(there.any(axis=2), there.argmax(axis=2) + 1, 0).astype(np.int32)

    def instances(self, sample: Sample) -> np.ndarray:
        """Objects of different channels are different ones; channels that mean the same as 0 have none."""
        numbers, channel = self._objects(sample), self.mask(sample)
        names = self.options.masks.values
        nothing = [value for value in range(numbers.shape[2] + 1) if names.get(value) == names.get(0, "")]
        number = np.take_along_axis(numbers, np.maximum(channel, 1)[..., None] - 1, axis=2)[..., 0]
        pairs = np.stack([channel, number], axis=-1).reshape(-1, 2)
        pairs[np.isin(pairs[:, 0], [0, *nothing])] = 0
        pairs = np.concatenate([[[0, 0]], pairs])  # so that nothing is the first
        return np.unique(pairs, axis=0, return_inverse=True)[1][1:].reshape(channel.shape).astype(np.int32)

    def _objects(self, sample: Sample) -> np.ndarray:
        """The numbers in each channel of a mask, int32 (h, w, channels)."""
        numbers = self._row(str(sample.mask))
        if (numbers != np.rint(numbers)).any() or numbers.min(initial=0) < 0:
            raise WorkError("its mask has values that are no numbers of objects")
        return numbers.astype(np.int32)

    def _row(self, name: str) -> np.ndarray:
        file, row = self.part(name)
        return np.asarray(self._array(file)[int(row)])

    def _array(self, file: str) -> np.ndarray:
        """The open file; a process that was forked opens files of its own."""
        key = os.getpid(), file
        with self._lock:
            if key not in self._open:
                self._open[key] = _mapped(self.root / file)
            return self._open[key]


def _are_bytes(pixels: np.ndarray) -> bool:
    return bool(((np.rint(pixels) == pixels) & (pixels >= 0) & (pixels <= 255)).all())


def _mapped(path: Path) -> np.ndarray:
    """A file of rows with channels. Raises OSError or WorkError where it is none; nothing in it is run."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, zipfile.BadZipFile) as error:
        raise WorkError(f"it is {stand_in(path) or f'no array of numbers ({error})'}") from error
    if not isinstance(array, np.ndarray) or array.ndim != 4 or array.dtype.kind not in "buif":
        raise WorkError("it holds no rows of pictures with channels, (rows, h, w, channels)")
    if not 0 < array.shape[1] * array.shape[2] <= MAX_PIXELS:
        raise WorkError(f"it is of {_size(array)} px, and a row has 1 to {MAX_PIXELS:,} pixels")
    return array


def _size(array: np.ndarray) -> str:
    return f"{array.shape[2]} x {array.shape[1]}"


@layout("npy_arrays", Options, {"segmentation"}, reader=_NpyReader)
def index(options: Options, root: Path, card: Card) -> list[Sample]:
    """Every row of the images, in order; every row is a unit, for nothing tells more.

    Raises RequestError for a missing or malformed file, files of different lengths or sizes, or another unit.
    """
    if card.unit != "image":
        raise RequestError(f"card {card.name}: layout: says nothing of the {card.unit} of an image; set unit: image")
    found = []
    for word in options.splits:
        split = split_name(card, word, options.splits, "layout.splits")
        images, pixels = _opened(options.images, root, card, "images", word)
        masks, values = _opened(options.mask, root, card, "mask", word)
        if pixels.shape[3] != 3 or not len(pixels):
            raise RequestError(f"card {card.name}: layout.images: {images} is {pixels.shape}, not rows of 3 channels")
        if not any(map(_are_bytes, (pixels[0], pixels[-1]))):  # a range is that of every row
            raise RequestError(
                f"card {card.name}: layout.images: {images} holds no whole numbers from 0 to 255; scale them to these"
            )
        if values.shape[:3] != pixels.shape[:3]:
            raise RequestError(
                f"card {card.name}: {images} has {len(pixels)} rows of {_size(pixels)} px and {masks} {len(values)} of "
                f"{_size(values)}: they do not belong together"
            )
        for row in range(len(pixels)):
            name = f"{images}#{row}"
            found.append(Sample(name, name, f"{masks}#{row}", None, name, split))
    return found


def _opened(file: str, root: Path, card: Card, key: str, word: str) -> tuple[str, np.ndarray]:
    where = f"card {card.name}: layout.{key}"
    file = inside(fill(file, {"split": word}), where)
    if not (root / file).is_file():
        raise RequestError(f"{where}: the file {root / file} does not exist; {top_of((root / file).parent)}")
    try:
        return file, _mapped(root / file)
    except (OSError, WorkError) as error:
        raise RequestError(f"{where}: {root / file} cannot be used: {error}") from error
