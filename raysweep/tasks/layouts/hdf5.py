"""Images in HDF5 files, one row each, with labels or masks in a file beside: PCam as it is published (unpacked)."""

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image
from pydantic import Field, model_validator

from raysweep.errors import RequestError, WorkError
from raysweep.hdf5_file import check_size, find_dataset
from raysweep.model import Model
from raysweep.patches.codec import MAX_PIXELS
from raysweep.stand_in import stand_in
from raysweep.tasks.card import Card
from raysweep.tasks.disk import top_of
from raysweep.tasks.layouts import layout
from raysweep.tasks.masks import MaskOptions
from raysweep.tasks.names import check_unit, class_index, inside, read_rows, split_name
from raysweep.tasks.reader import Reader
from raysweep.tasks.sample import LeftOut, Sample
from raysweep.tasks.templates import columns_of, fill
from raysweep.tasks.where import ABOUT_GROUPS, ABOUT_WHERE, Groups, Where, groups_of, wanted
from raysweep.text_table import LINE

_STEM = "camelyonpatch_level_2_split_{split}"
_MOST_LABELS = 2**30  # bytes: what claims more is no file of labels
_CHUNKS = 64 * 2**20  # bytes of decompressed chunks that a file keeps: rows are neighbours when a set is indexed


class Options(Model):
    """Which files, and what in them. {split} stands for the words of `splits`."""

    images: str = Field(f"{_STEM}_x.h5", description="the file of images, below the root")
    labels: str = Field(f"{_STEM}_y.h5", description="the file of labels; it may be that of the images")
    mask: str | None = Field(None, description="segmentation: the file of masks; it may be that of the images")
    splits: dict[str, str] = Field(
        {"train": "train", "valid": "val", "test": "test"},
        description="word for {split} in the file names -> train | val | test; empty: one file without a split",
    )
    image_key: str = Field("x", description="dataset of images: uint8 (rows, h, w, 3) or (rows, h, w)")
    label_key: str = Field("y", description="dataset of labels: whole numbers, one for each row")
    mask_key: str = Field("mask", description="dataset of masks: whole numbers, (rows, h, w) or (rows, h, w, 1)")
    masks: MaskOptions = MaskOptions()
    classes: dict[int, str] = Field({}, description="label -> class name; none: they index the card's classes")
    meta: str | None = Field(None, description="CSV table with a row for each row of the images, in their order")
    unit: str | None = Field(None, description="the table's column that names the unit, such as wsi")
    where: Where = Field({}, description=ABOUT_WHERE)
    groups: Groups = Field({}, description=ABOUT_GROUPS)

    @model_validator(mode="after")
    def _fits(self) -> "Options":
        if (self.meta is None) != (self.unit is None and not self.where and not self.groups):
            raise ValueError(
                "meta and unit (or where, groups) go together: a table, and its column that names the unit"
            )
        for key in ("images", "labels", "mask", "meta"):
            if key == "labels" and self.mask and key not in self.model_fields_set:
                continue  # of masks only
            names = columns_of(getattr(self, key) or "")
            if getattr(self, key) and names != (["split"] if self.splits else []):
                raise ValueError(f"{key}: needs {{split}} in it where splits are given, and no other name in braces")
        return self


class _Hdf5Reader(Reader):
    containers = True

    def __init__(self, options: Options, root: Path) -> None:
        super().__init__(options, root)
        self._open: dict[tuple[int, str, str], h5py.Dataset] = {}

    def image(self, name: str) -> Image.Image:
        file, row = self.part(name)
        pixels = np.asarray(self._dataset(file, "image")[int(row)])
        return Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels).convert("RGB")

    def size(self, name: str) -> tuple[int, int]:
        shape = self._dataset(self.part(name)[0], "image").shape
        return shape[2], shape[1]

    def data(self, name: str) -> None:
        return None

    def mask(self, sample: Sample) -> np.ndarray:
        file, row = self.part(str(sample.mask))
        mask = np.asarray(self._dataset(file, "mask")[int(row)])
        mask = mask.astype(np.uint8) if mask.dtype == bool else mask
        if mask.min(initial=0) < 0:
            raise WorkError(f"{self.options.mask_key} holds numbers below 0 in row {row}")
        return mask[..., 0] if mask.ndim == 3 else mask

    def inputs(self) -> dict[str, Any]:
        keys = {"image_key": self.options.image_key}
        return keys | {"mask_key": self.options.mask_key} if self.options.mask else keys

    def _dataset(self, file: str, what: str) -> h5py.Dataset:
        """The open dataset of images or masks; a process that was forked opens files of its own."""
        key = os.getpid(), file, what
        with self._lock:
            if key not in self._open:
                self._open[key] = _dataset(self.root / file, self.options, what)
            return self._open[key]


def _dataset(path: Path, options: Options, what: str) -> h5py.Dataset:
    """The open dataset of images, masks or labels. Raises WorkError where it is none, or nothing of the kind."""
    key = getattr(options, f"{what}_key")
    file = h5py.File(path, "r", rdcc_nbytes=_CHUNKS)
    found = find_dataset(file, key)
    if found is None:
        raise WorkError(f"it has no dataset {key}; it has {', '.join(file) or 'nothing'}")
    if what == "label":
        check_size(found, _MOST_LABELS)
        return found
    whole = found.dtype == np.uint8 if what == "image" else found.dtype.kind in "biu"
    channels = ((), (1,), (3,)) if what == "image" else ((), (1,))
    if not whole or found.ndim not in (3, 4) or found.shape[3:] not in channels:
        wanted = "8-bit images" if what == "image" else "masks of whole numbers"
        raise WorkError(f"{key} is {found.dtype} {found.shape}, not {wanted}")
    if not 0 < found.shape[1] * found.shape[2] <= MAX_PIXELS:
        raise WorkError(f"{key} is of {_size(found)} px, and a row has 1 to {MAX_PIXELS:,} pixels")
    return found


def _size(dataset: h5py.Dataset) -> str:
    return f"{dataset.shape[2]} x {dataset.shape[1]}"


@layout("hdf5", Options, {"classification", "segmentation"}, reader=_Hdf5Reader)
def index(options: Options, root: Path, card: Card) -> list[Sample | LeftOut]:
    """Every row of the images, in order; a classification task looks at no mask, a segmentation task at no label.

    Raises RequestError for a missing file or dataset, a label of no class, files of different lengths, masks of another
    size than the images, or filters that leave nothing.
    """
    if options.unit is None and card.unit != "image":
        raise RequestError(f"card {card.name}: layout.unit: name the column of meta that holds the {card.unit}")
    if card.kind == "segmentation" and options.mask is None:
        raise RequestError(f"card {card.name}: layout.mask: a segmentation task needs it")
    meta = _meta(options, root, card)
    found: list[Sample | LeftOut] = []
    for word in options.splits or [""]:
        split = split_name(card, word, options.splits, "layout.splits") if word else None
        images, pixels = _opened(options, root, card, "image", word)
        n = len(pixels)
        if n == 0:
            raise RequestError(
                f"card {card.name}: layout.images: {images} has no rows, so {split or 'the set'} is empty"
            )
        masks: str | None = None
        labels: list[int | None] = [None] * n
        if card.kind == "segmentation":
            masks, values = _opened(options, root, card, "mask", word)
            _same(card, images, n, masks, len(values))
            if values.shape[1:3] != pixels.shape[1:3]:
                raise RequestError(
                    f"card {card.name}: layout.mask: the images of {images} are {_size(pixels)} px, and the masks of "
                    f"{masks} {_size(values)}: they do not belong together"
                )
        else:
            file, dataset = _opened(options, root, card, "label", word)
            _same(card, images, n, file, len(dataset) if dataset.shape else 1)
            values = np.asarray(dataset).ravel()
            if len(values) != n or values.dtype.kind not in "biuf":
                raise RequestError(
                    f"card {card.name}: layout.labels: {options.label_key} of {file} is {dataset.dtype} "
                    f"{dataset.shape}, not one number for each row; write whole numbers, which layout.classes can name"
                )
            of_value = {value: _class(card, options, file, value) for value in np.unique(values).tolist()}
            labels = [of_value[value] for value in values.tolist()]
        file, rows, kept = meta.get(word, ("", [], []))
        if options.meta:
            _same(card, images, n, file, len(rows))
        for row, label in enumerate(labels):
            name, mask = f"{images}#{row}", f"{masks}#{row}" if masks else None
            if options.meta and not kept[row]:
                found.append(LeftOut(name, mask))
                continue
            unit = rows[row][options.unit] if options.unit else name
            if options.unit:
                check_unit(unit, options.unit, f"{file} row {rows[row][LINE]}", card)
            groups = groups_of(rows[row], options.groups) if options.groups else ()
            found.append(Sample(name, name, mask, label, unit, split, groups=groups))
    return found


def _meta(options: Options, root: Path, card: Card) -> dict[str, tuple[str, list[dict[str, str]], list[bool]]]:
    """By word for {split}: the table, its rows, and which of them the filters ask for."""
    if options.meta is None:
        return {}
    columns = [column for column in (options.unit, *options.where, *options.groups.values()) if column]
    files = {word: inside(fill(options.meta, {"split": word}), f"card {card.name}: layout.meta")
             for word in options.splits or [""]}  # fmt: skip
    tables = {word: read_rows(root / file, card, columns) for word, file in files.items()}
    kept = iter(wanted([row for rows in tables.values() for row in rows], options.where, card, "layout.where"))
    return {word: (files[word], rows, [next(kept) for _ in rows]) for word, rows in tables.items()}


def _opened(options: Options, root: Path, card: Card, what: str, word: str) -> tuple[str, h5py.Dataset]:
    """The file of images, masks or labels for a word, below the root, and its dataset."""
    option = "mask" if what == "mask" else f"{what}s"
    where = f"card {card.name}: layout.{option}"
    file = inside(fill(getattr(options, option), {"split": word}), where)
    path = root / file
    if not path.is_file():
        packed = path.with_name(f"{path.name}.gz")
        hint = f"; unpack {packed.name}" if packed.exists() else f"; {top_of(path.parent)}"
        raise RequestError(f"{where}: the file {path} does not exist{hint}")
    try:
        return file, _dataset(path, options, what)
    except (OSError, WorkError) as error:
        instead = stand_in(path)
        raise RequestError(f"{where}: {path} cannot be used: {f'it is {instead}' if instead else error}") from error


def _same(card: Card, images: str, n: int, other: str, m: int) -> None:
    if n != m:
        raise RequestError(f"card {card.name}: {images} has {n} rows and {other} has {m}: they do not belong together")


def _class(card: Card, options: Options, labels: str, value: Any) -> int:
    whole = int(value) if np.isfinite(value) else -1
    if options.classes and whole == value:
        name = options.classes.get(whole, str(value))
        return class_index(card, name, f"{labels}, label", "layout.classes")
    if whole != value or not 0 <= whole < len(card.classes):
        raise RequestError(
            f"card {card.name}: {labels}: label {value} is none of the classes' numbers, 0 to {len(card.classes) - 1}; "
            "map it in layout.classes"
        )
    return whole
