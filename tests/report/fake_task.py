"""Tasks as a report finds them: an index, thumbnails of some test images, and masks that finals kept of them."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from raysweep.randomness import generator
from raysweep.report.cells import CellRef
from raysweep.storage import MANIFEST, Storage
from raysweep.tasks.card import Card
from raysweep.tasks.examine import Examined
from raysweep.tasks.masks import IGNORED, encode_mask
from raysweep.tasks.sample import Sample
from raysweep.tasks.task import Task
from raysweep.tasks.thumbnails import thumbnails_file
from raysweep.transfer.kept_masks import MASKS_SCHEMA

SHOWN = 9  # test images that are kept, the first
_PX = 40


def write_task(folder: Storage, name: str, cell: CellRef, *, licence: str = "research use only") -> None:
    """The task of a finished cell: what its first repeat was tested on, and 20 training patients with 2 images each;
    one image left out."""
    tested = cell.repeats[0].folder.read_table("predictions", f"{name}.parquet")
    labels = tested["label"].to_pylist() if "label" in tested.column_names else [None] * tested.num_rows
    samples = [_sample(s, u, label, "test") for s, u, label in
               zip(tested["sample"].to_pylist(), tested["unit"].to_pylist(), labels, strict=True)]  # fmt: skip
    samples += [_sample(f"t{i:02d}/{k}.png", f"t{i:02d}", None if labels[0] is None else k, "train")
                for i in range(20) for k in range(2)]  # fmt: skip
    classes = ["background", "gland"] if cell.kind == "segmentation" else ["stroma", "tumour"]
    layout = {"type": "image_mask_pairs" if cell.kind == "segmentation" else "image_folder"}
    card = Card(name=name, kind=cell.kind, classes=classes, source="drawn", licence={"name": licence}, root=name,
                layout=layout, unit="patient", splits={"type": "given"}, metrics=list(cell.metrics))  # fmt: skip
    task = Task(
        card, Path(folder.root), samples, [("t99/0.png", "the file is empty")], [Examined("", "", ()) for _ in samples]
    )
    task.save(folder)
    folder.write_json({"fingerprint": "0a1b2c3d" * 4}, MANIFEST)
    rows = []
    for sample in samples[:SHOWN]:
        out = io.BytesIO()
        noise = generator("picture", name, sample.id).integers(90, 255, (5, 5, 3)).astype(np.uint8)
        Image.fromarray(noise).resize((_PX, _PX)).save(out, "JPEG")
        rows.append({"sample": sample.id, "unit": sample.unit, "height": _PX, "width": _PX, "image": out.getvalue(),
                     "mask": encode_mask(disc(0.5)) if cell.kind == "segmentation" else None})  # fmt: skip
    folder.write_table(pa.Table.from_pylist(rows), thumbnails_file(0))


def write_masks(cell: CellRef) -> None:
    """What repeat 0 of a cell kept of its masks: a disc, the larger the more of the image was hit."""
    first = cell.repeats[0].folder
    if cell.kind != "segmentation" or not first.exists("predictions", f"{cell.task}.parquet"):
        return
    table = first.read_table("predictions", f"{cell.task}.parquet")
    rows = [{"sample": row["sample"], "unit": row["unit"], "fold": 0,
             "mask": encode_mask(disc(0.5 * row["tp"][1] / max(1, row["tp"][1] + row["fn"][1])))}
            for row in table.slice(0, SHOWN).to_pylist()]  # fmt: skip
    first.write_table(pa.Table.from_pylist(rows, schema=MASKS_SCHEMA), "masks", f"{cell.task}.parquet")


def disc(radius: float) -> np.ndarray:
    """Class ids: a disc of class 1 of a radius in edges, under a stripe that counts nowhere."""
    y, x = np.mgrid[:_PX, :_PX] / _PX - 0.5
    ids = (np.hypot(x, y) < radius).astype(np.uint8)
    ids[:2] = IGNORED
    return ids


def _sample(name: str, unit: str, label: int | None, split: str) -> Sample:
    present = (0, 1) if label is None else ()
    mask = f"masks/{name}" if label is None else None
    return Sample(name, name, mask, label, unit, split, present)
