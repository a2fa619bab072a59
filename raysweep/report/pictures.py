"""Test images to look at: of each segmentation task the worst, the median and the best of those that were kept, as they
are, with their true masks and with what every checkpoint predicted."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from PIL import Image

from raysweep.report.cells import CellRef, RepeatRef, percent
from raysweep.report.style import BACKGROUND, OUTSIDE, mask_colours
from raysweep.report.tables import number
from raysweep.report.thumbnails import jpeg_address, largest, read_thumbnails
from raysweep.storage import Storage
from raysweep.tasks.masks import IGNORED

MOST_CHECKPOINTS = 12  # of one gallery
MOST_BYTES = 6 * 2**20  # of all pictures of all galleries
_ENDS = (
    "missed",
    "too much",
)  # of a task with one class beside the background, after the class; in the order of colours


@dataclass(frozen=True)
class Picture:
    """`data`: a data: address; `below`: what is written under it; `alt`: what it shows."""

    data: str
    below: str
    alt: str


@dataclass(frozen=True)
class Gallery:
    """Of one task: how its images were chosen, colours and what they mean, and for each image what it is and its
    pictures: the image, the truth, then one per checkpoint of `checkpoints`."""

    task: str
    caption: str
    colours: list[tuple[str, str]]
    checkpoints: list[str]
    rows: list[tuple[str, list[Picture]]]
    note: str = ""


@dataclass(frozen=True)
class _Kept:
    """What repeat 0 of a cell predicted: masks as PNG and Dice of the images whose masks are kept."""

    masks: dict[str, bytes]
    dice: dict[str, float]


def read_galleries(
    cells: Sequence[CellRef], tasks: Mapping[str, Storage], seed: int, *, protocol: str
) -> tuple[list[Gallery], str]:
    """Galleries of all segmentation tasks, and a sentence about those that are left out.

    tasks: the folders of their indexes, where thumbnails are. seed: the study's, which names their file. protocol: the
    primary one; of a task without it the first. Of the largest fraction and of repeat 0, whose masks are kept. All
    checkpoints show the same images, chosen by the mean over checkpoints.
    """
    out, spent, left = [], 0, []
    for task, column in largest(cells, "segmentation", protocol).items():
        found = _gallery(column, tasks[task], seed) if task in tasks else None
        if found is None:
            continue
        spent += sum(len(p.data) for _, pictures in found.rows for p in pictures)
        if spent > MOST_BYTES:
            left.append(task)
        else:
            out.append(found)
    return out, f"Pictures of {', '.join(left)} are left out: the page would be too large." if left else ""


def _gallery(column: Sequence[CellRef], folder: Storage, seed: int) -> Gallery | None:
    """None where there are no thumbnails, or no image of which every checkpoint has a mask."""
    thumbnails = read_thumbnails(folder, seed)
    kept = {cell.checkpoint: found for cell in column[:MOST_CHECKPOINTS] if (found := _kept(cell))}
    common = set(thumbnails).intersection(*(own.dice for own in kept.values())) if kept else set()
    if not common:
        return None
    mean = {sample: float(np.mean([own.dice[sample] for own in kept.values()])) for sample in common}
    ordered = sorted(mean, key=lambda sample: (mean[sample], sample))
    places = {"worst": ordered[0], "median": ordered[(len(ordered) - 1) // 2], "best": ordered[-1]}
    classes = list(folder.read_json("task.json")["card"]["classes"])
    rows = []
    for sample in dict.fromkeys(places.values()):
        what = " and ".join(name for name, other in places.items() if other == sample)
        rows.append((f"{what}: {sample}", _row(sample, thumbnails[sample], kept, len(classes) == 2)))
    cell, colours = column[0], mask_colours()
    caption = (
        f"Of {len(ordered)} test images whose masks were kept (drawn by the study's seed), those with the lowest, the "
        f"median and the highest Dice by the mean over checkpoints: the same for all. {cell.protocol}, "
        f"{percent(cell.fraction)} of the labels, repeat 0. The number is the Dice of that image alone, all classes "
        f"but {classes[0]} together; it is no result."
    )
    names = [f"{classes[1]}, in predictions hit", *_ENDS] if len(classes) == 2 else classes[1:]
    meaning = [(BACKGROUND, classes[0]), *zip(colours, names, strict=False), (OUTSIDE, "not counted")]
    note = "" if len(column) <= MOST_CHECKPOINTS else f"The first {MOST_CHECKPOINTS} of {len(column)} checkpoints."
    return Gallery(cell.task, caption, meaning, list(kept), rows, note)


def _row(sample: str, small: Mapping, kept: Mapping[str, _Kept], binary: bool) -> list[Picture]:
    truth = np.asarray(Image.open(io.BytesIO(small["mask"])))
    pictures = [
        Picture(jpeg_address(small["image"]), "image", f"Test image {sample} of {small['unit']}"),
        Picture(_painted(truth), "truth", f"True mask of {sample}: {_covered(truth)}"),
    ]
    for name, own in kept.items():
        size = truth.shape[1], truth.shape[0]
        predicted = np.asarray(Image.open(io.BytesIO(own.masks[sample])).resize(size, Image.Resampling.NEAREST))
        dice = number(own.dice[sample], 3)
        shown = _compared(predicted, truth) if binary else predicted
        pictures.append(
            Picture(_painted(shown), dice, f"Mask of {sample} by {name}: Dice {dice}, {_covered(predicted)}")
        )
    return pictures


def _kept(cell: CellRef) -> _Kept | None:
    repeat = next((r for r in cell.repeats if r.number == 0 and r.status == "done"), None)
    try:
        return _read(repeat, cell.task) if repeat else None
    except (OSError, KeyError, pa.ArrowException):  # an older run kept none
        return None


def _read(repeat: RepeatRef, task: str) -> _Kept:
    masks = {row["sample"]: row["mask"] for row in repeat.folder.read_table("masks", f"{task}.parquet").to_pylist()}
    table = repeat.folder.read_table("predictions", f"{task}.parquet", columns=["sample", "tp", "fp", "fn"])
    dice: dict[str, float] = {}
    for row in table.to_pylist():
        hit, wrong = sum(row["tp"][1:]), sum(row["fp"][1:]) + sum(row["fn"][1:])
        if row["sample"] in masks and hit + wrong:  # without any of the classes Dice is undefined
            dice.setdefault(row["sample"], 2 * hit / (2 * hit + wrong))
    return _Kept(masks, dice)


def _compared(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """1: both are the class, 2: missed, 3: too much, 0: both are background; IGNORED where the truth is none."""
    ends = np.select([(predicted == 1) & (truth == 1), truth == 1, predicted == 1], [1, 2, 3], 0)
    return np.where(truth == IGNORED, IGNORED, ends).astype(np.uint8)


def _painted(ids: np.ndarray) -> str:
    """A data: address of class ids (h, w) as a PNG in colours; classes beyond the colours begin again."""
    colours = mask_colours()
    many = [BACKGROUND, *(colours[i % len(colours)] for i in range(254)), OUTSIDE]
    image = Image.frombytes("P", (ids.shape[1], ids.shape[0]), ids.astype(np.uint8).tobytes())
    image.putpalette(bytes.fromhex("".join(c[1:] for c in many)))
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def _covered(ids: np.ndarray) -> str:
    counted = ids[ids != IGNORED]
    return f"{100 * (counted > 0).mean() if counted.size else 0:.0f} % of it is not background"
