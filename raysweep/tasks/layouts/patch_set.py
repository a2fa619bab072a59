"""A patch set of raysweep as a labelled set: the label or the mask of each patch."""

import io
from collections import OrderedDict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from PIL import Image
from pydantic import Field

from raysweep.errors import RequestError, WorkError
from raysweep.model import Model
from raysweep.patches.codec import FORMATS, decode
from raysweep.patches.outcomes import SLIDES
from raysweep.patches.read import PatchSet, RowGroup
from raysweep.patches.write import ROW_GROUP
from raysweep.storage import Storage
from raysweep.tasks.card import Card
from raysweep.tasks.layouts import layout
from raysweep.tasks.masks import MaskOptions
from raysweep.tasks.names import class_index, inside, split_name
from raysweep.tasks.reader import Reader
from raysweep.tasks.sample import Sample
from raysweep.tasks.where import ABOUT_GROUPS, Groups, groups_of

_COLUMNS = ["slide", "patient", "x", "y", "label", "split"]
_KEPT = 8  # row groups: readers that go through a set in its order read each of them once


class Options(Model):
    """Where the set is and what its labels mean."""

    folder: str = Field(".", description="the folder of the set's manifest.json, below the root")
    labels: dict[str, str | None] = Field({}, description="class of the set -> class name; null leaves patches out")
    unlabelled: Literal["refuse", "skip"] = Field("refuse", description="what to do with patches without a label")
    masks: MaskOptions = MaskOptions()
    groups: Groups = Field({}, description=f"{ABOUT_GROUPS}; here of slides.parquet, such as {{site: site}}")


class _PatchReader(Reader):
    """Patches in random order cost a row group of 128 each: draws of whole slides, or sets that memory holds, are what
    it suits."""

    containers = True

    def __init__(self, options: Options, root: Path) -> None:
        super().__init__(options, root)
        self._set: PatchSet | None = None
        self._rows: OrderedDict[tuple[str, int, str], pa.ChunkedArray] = OrderedDict()

    def data(self, name: str) -> bytes:
        return self._cell(name, "image.bytes")

    def image(self, name: str) -> Image.Image:
        return Image.fromarray(decode(self.data(name)))

    def size(self, name: str) -> tuple[int, int]:
        with Image.open(io.BytesIO(self.data(name)), formats=FORMATS) as picture:
            return picture.size

    def mask(self, sample: Sample) -> np.ndarray:
        with Image.open(io.BytesIO(self._cell(str(sample.mask), "mask")), formats=FORMATS) as picture:
            return np.asarray(picture)

    def _cell(self, name: str, column: str) -> bytes:
        file, row = self.part(name)
        group, at = divmod(int(row), ROW_GROUP)
        shard = file.rpartition("/")[2]
        with self._lock:
            if self._set is None:
                self._set = PatchSet(Storage.open(self.root / self.options.folder))
            key = shard, group, column
            if key not in self._rows:
                rows = self._set.read(RowGroup(shard, group, 0, 0, 0), [column]).column(0)
                self._rows[key] = rows
                if len(self._rows) > _KEPT:
                    self._rows.popitem(last=False)
            self._rows.move_to_end(key)
            value = self._rows[key][at].as_py()
        value = value["bytes"] if isinstance(value, dict) else value
        if value is None:
            raise WorkError(f"the patch has no {column.partition('.')[0]}")
        return value


@layout("patch_set", Options, {"classification", "segmentation"}, reader=_PatchReader)
def index(options: Options, root: Path, card: Card) -> list[Sample]:
    """Every patch, in the order of the shards; the unit is its patient, its slide, or the patch itself.

    Raises RequestError for a set that is not complete, another scale than the card's, a class that the card does not
    know, or a patch without a label or a unit.
    """
    where = f"card {card.name}: layout"
    if card.unit == "site":
        raise RequestError(f"{where}: a patch set says nothing of sites; set unit: patient, slide or image")
    inner = options.folder if options.folder == "." else inside(options.folder, f"{where}.folder")
    folder = Storage.open(root / inner)
    patches = PatchSet(folder)
    if card.mpp and patches.mpp and abs(card.mpp / patches.mpp - 1) > 1e-3:
        raise RequestError(f"card {card.name}: mpp: the patches have {patches.mpp:g} um per pixel, not {card.mpp:g}")
    of_label = {} if card.kind == "segmentation" else {
        number: None if name in options.labels and options.labels[name] is None
        else class_index(card, str(options.labels.get(name, name)), "the patch set", "layout.labels")
        for number, name in enumerate(patches.classes)
    }  # fmt: skip
    groups = _groups(options, folder, where)
    samples = []
    below = "" if options.folder == "." else f"{options.folder}/"
    for shard in dict.fromkeys(group.shard for group in patches.row_groups):
        for number, row in enumerate(folder.read_table("shards", shard, columns=_COLUMNS).to_pylist()):
            name = f"{below}shards/{shard}#{number}"
            label = None
            if card.kind == "classification":
                if row["label"] is None:
                    if options.unlabelled == "refuse":
                        raise RequestError(
                            f"{where}.unlabelled: the patch of {row['slide']} at {row['x']}, {row['y']} has no label; "
                            "set it to skip to go on without such patches"
                        )
                    continue
                label = of_label[row["label"]]
                if label is None:
                    continue
            patch = f"{row['slide']}/{row['x']}-{row['y']}"
            mask = name if card.kind == "segmentation" else None
            split = split_name(card, row["split"] or "", {}, patch)
            own = groups.get(row["slide"], ())
            samples.append(Sample(patch, name, mask, label, _unit(card, row, patch), split, groups=own))
    if not samples:
        raise RequestError(f"{where}: no patch of {folder.root} can be used")
    return samples


def _groups(options: Options, folder: Storage, where: str) -> dict[str, tuple[tuple[str, str], ...]]:
    """Of each slide; what its table has no value for is `not given`. Raises RequestError for a column it lacks."""
    if not options.groups:
        return {}
    table = folder.read_table(SLIDES)
    for kind, column in options.groups.items():
        if column not in table.column_names:
            raise RequestError(
                f"{where}.groups.{kind}: {SLIDES} has no column {column!r}; it has {', '.join(table.column_names)}"
            )
    rows = table.select(list(dict.fromkeys(["slide", *options.groups.values()]))).to_pylist()
    texts = [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]
    return {text["slide"]: groups_of(text, options.groups) for text in texts}


def _unit(card: Card, row: dict[str, Any], patch: str) -> str:
    unit = patch if card.unit == "image" else row[card.unit]
    if not unit:
        raise RequestError(f"card {card.name}: unit: slide {row['slide']} of the patch set has no {card.unit}")
    return str(unit)
