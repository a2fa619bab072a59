"""Images in HDF5 files, one row each, with labels in a file beside: PCam as it is published (unpacked from .gz)."""

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image
from pydantic import Field, model_validator

from raysweep.errors import RequestError, WorkError
from raysweep.model import Model
from raysweep.tasks.card import Card
from raysweep.tasks.layouts import layout
from raysweep.tasks.names import class_index, inside, read_rows, split_name
from raysweep.tasks.reader import Reader
from raysweep.tasks.sample import Sample
from raysweep.tasks.templates import columns_of, fill

_STEM = "camelyonpatch_level_2_split_{split}"
_CHUNKS = 64 * 2**20  # bytes of decompressed chunks that a file keeps: rows are neighbours when a set is indexed


class Options(Model):
    """Which files, and what in them. {split} stands for the words of `splits`."""

    images: str = Field(f"{_STEM}_x.h5", description="the file of images, below the root")
    labels: str = Field(f"{_STEM}_y.h5", description="the file of labels; it may be that of the images")
    splits: dict[str, str] = Field(
        {"train": "train", "valid": "val", "test": "test"},
        description="word for {split} in the file names -> train | val | test; empty: one file without a split",
    )
    image_key: str = Field("x", description="dataset of images: uint8 (rows, h, w, 3) or (rows, h, w)")
    label_key: str = Field("y", description="dataset of labels: whole numbers, one for each row")
    classes: dict[int, str] = Field({}, description="label -> class name; none: they index the card's classes")
    meta: str | None = Field(None, description="CSV table with a row for each row of the images, in their order")
    unit: str | None = Field(None, description="the table's column that names the unit, such as wsi")

    @model_validator(mode="after")
    def _fits(self) -> "Options":
        if (self.meta is None) != (self.unit is None):
            raise ValueError("meta and unit go together: a table, and its column that names the unit")
        for key in ("images", "labels", "meta"):
            names = columns_of(getattr(self, key) or "")
            if getattr(self, key) and names != (["split"] if self.splits else []):
                raise ValueError(f"{key}: needs {{split}} in it where splits are given, and no other name in braces")
        return self


class _Hdf5Reader(Reader):
    containers = True

    def __init__(self, options: Options, root: Path) -> None:
        super().__init__(options, root)
        self._open: dict[tuple[int, str], h5py.Dataset] = {}

    def image(self, name: str) -> Image.Image:
        file, row = self.part(name)
        data = self._images(file)
        pixels = np.asarray(data[int(row)])
        return Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels).convert("RGB")

    def size(self, name: str) -> tuple[int, int]:
        shape = self._images(self.part(name)[0]).shape
        return shape[2], shape[1]

    def data(self, name: str) -> None:
        return None

    def inputs(self) -> dict[str, Any]:
        return {"image_key": self.options.image_key}

    def _images(self, file: str) -> h5py.Dataset:
        """The open dataset; a process that was forked opens files of its own."""
        key = os.getpid(), file
        with self._lock:
            if key not in self._open:
                self._open[key] = _images_in(self.root / file, self.options.image_key)
            return self._open[key]


def _images_in(path: Path, key: str) -> h5py.Dataset:
    found = _dataset(path, key)
    if found.dtype != np.uint8 or found.ndim not in (3, 4) or found.shape[3:] not in ((), (1,), (3,)):
        raise WorkError(f"{key} is {found.dtype} {found.shape}, not 8-bit images")
    return found


def _dataset(path: Path, key: str) -> h5py.Dataset:
    file = h5py.File(path, "r", rdcc_nbytes=_CHUNKS)
    found = file.get(key)
    if not isinstance(found, h5py.Dataset):
        raise WorkError(f"it has no dataset {key}; it has {', '.join(file) or 'nothing'}")
    return found


@layout("hdf5", Options, {"classification"}, reader=_Hdf5Reader)
def index(options: Options, root: Path, card: Card) -> list[Sample]:
    """Every row of the images, in order.

    Raises RequestError for a missing file or dataset, a label of no class, or files of different lengths.
    """
    if options.unit is None and card.unit != "image":
        raise RequestError(f"card {card.name}: layout.unit: name the column of meta that holds the {card.unit}")
    samples = []
    for word in options.splits or [""]:
        split = split_name(card, word, options.splits, "layout.splits") if word else None
        images, labels = (inside(fill(name, {"split": word}), f"card {card.name}: layout.{key}")
                          for key, name in (("images", options.images), ("labels", options.labels)))  # fmt: skip
        n = _opened(root / images, options.image_key, card, "images").shape[0]
        values = np.asarray(_opened(root / labels, options.label_key, card, "labels")).ravel()
        _same(card, images, n, labels, len(values))
        if n == 0:
            raise RequestError(
                f"card {card.name}: layout.images: {images} has no rows, so {split or 'the set'} is empty"
            )
        of_value = {value: _class(card, options, labels, value) for value in np.unique(values).tolist()}
        units: list[str] | None = None
        if options.meta and options.unit:
            meta = inside(fill(options.meta, {"split": word}), f"card {card.name}: layout.meta")
            units = [row[options.unit] for row in read_rows(root / meta, card, [options.unit])]
            _same(card, images, n, meta, len(units))
            if "" in units:
                raise RequestError(f"card {card.name}: {meta} row {units.index('') + 2} has an empty {options.unit}")
        for row, value in enumerate(values.tolist()):
            name = f"{images}#{row}"
            samples.append(Sample(name, name, None, of_value[value], units[row] if units else name, split))
    return samples


def _opened(path: Path, key: str, card: Card, option: str) -> h5py.Dataset:
    where = f"card {card.name}: layout.{option}"
    if not path.is_file():
        packed = path.with_name(f"{path.name}.gz")
        hint = f"; unpack {packed.name}" if packed.exists() else ""
        raise RequestError(f"{where}: the file {path} does not exist{hint}")
    try:
        return (_images_in if option == "images" else _dataset)(path, key)
    except (OSError, WorkError) as error:
        raise RequestError(f"{where}: {path} cannot be used: {error}") from error


def _same(card: Card, images: str, n: int, other: str, m: int) -> None:
    if n != m:
        raise RequestError(f"card {card.name}: {images} has {n} rows and {other} has {m}: they do not belong together")


def _class(card: Card, options: Options, labels: str, value: Any) -> int:
    whole = int(value)
    if options.classes:
        name = options.classes.get(whole, str(value))
        return class_index(card, name, f"{labels}, label", "layout.classes")
    if whole != value or not 0 <= whole < len(card.classes):
        raise RequestError(
            f"card {card.name}: {labels}: label {value} is none of the classes' numbers, 0 to {len(card.classes) - 1}; "
            "map it in layout.classes"
        )
    return whole
