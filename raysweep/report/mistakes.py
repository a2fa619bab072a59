"""Where classification goes wrong: confusion matrices, and the mistakes that a checkpoint was surest of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from raysweep.report.cells import CellRef, percent
from raysweep.report.heat import HeatCell, HeatMap
from raysweep.report.pictures import Picture
from raysweep.report.tables import Table, number
from raysweep.report.thumbnails import jpeg_address, largest, read_thumbnails
from raysweep.storage import Storage
from raysweep.transfer.metrics.rows import Rows

MOST_CHECKPOINTS = 12  # of one task on the page; tables have all
MOST_CLASSES = 12  # of a matrix on the page
_SHOWN = 3  # mistakes of one checkpoint on the page
_LISTED = 20  # in the table
MOST_BYTES = 4 * 2**20  # of all pictures
_CONFUSION = ("task", "protocol", "fraction", "checkpoint", "truth", "predicted", "count", "share")
_MISTAKES = ("task", "protocol", "fraction", "checkpoint", "sample", "unit", "truth", "predicted", "score")


@dataclass(frozen=True)
class Mistakes:
    """Of one task: matrices, and for each checkpoint its surest mistakes among the images that there are pictures of,
    and on how many mistakes of those these are. Captions say what was counted."""

    task: str
    caption: str
    matrices: list[tuple[str, HeatMap]]
    pictures_caption: str
    pictures: list[tuple[str, str, list[Picture]]]
    note: str = ""


@dataclass
class _Found:
    counts: np.ndarray  # (classes, classes): truth, predicted; over all repeats
    repeats: int
    surest: list[tuple[float, str, str, int, int]] = field(default_factory=list)  # of repeat 0


def read_mistakes(
    cells: Sequence[CellRef], rows: Mapping[str, pa.Table], tasks: Mapping[str, Storage], seed: int, *, protocol: str
) -> tuple[list[Mistakes], list[Table]]:
    """Of every classification task, at its largest fraction under the primary protocol (else its first); and tables of
    all matrices and of the _LISTED surest mistakes of each checkpoint.

    rows: what `read_rows` gave. tasks, seed: as in `read_galleries`.
    """
    out, confused, wrong, spent = [], [], [], 0
    for task, column in largest(cells, "classification", protocol).items():
        found = {cell.checkpoint: own for cell in column if cell.path in rows and (own := _found(cell))}
        if not found:
            continue
        classes = next(list(rows[c.path]["classes"][0].as_py() or []) for c in column if c.path in rows)
        where = [task, column[0].protocol, f"{column[0].fraction:g}"]
        for name, own in found.items():
            confused += [[*where, name, *line] for line in _lines(own, classes)]
            wrong += [[*where, name, sample, unit, classes[truth], classes[guess], number(score)]
                      for score, sample, unit, truth, guess in own.surest[:_LISTED]]  # fmt: skip
        thumbnails = read_thumbnails(tasks[task], seed) if task in tasks else {}
        made = _mistakes(column, found, classes, thumbnails)
        size = sum(len(p.data) for _, _, pictures in made.pictures for p in pictures)
        if spent + size > MOST_BYTES:
            made = _mistakes(column, found, classes, {})
        else:
            spent += size
        out.append(made)
    numbers = frozenset({"fraction", "count", "share", "score"})
    return out, [Table("confusion", _CONFUSION, confused, numbers), Table("mistakes", _MISTAKES, wrong, numbers)]


def _found(cell: CellRef) -> _Found | None:
    found = None
    for repeat in cell.repeats:
        if repeat.status != "done":
            continue
        try:
            table = repeat.folder.read_table("predictions", f"{cell.task}.parquet")
        except (OSError, pa.ArrowException):  # a final without a value has none
            continue
        if not table.num_rows:
            continue
        own = Rows(table)
        labels, guesses, k = own.labels, own.guesses, own.n_classes
        found = found or _Found(np.zeros((k, k), np.int64), 0)
        np.add.at(found.counts, (labels, guesses), 1)
        found.repeats += 1
        if repeat.number == 0:
            at = np.flatnonzero(labels != guesses)
            scores = own.scores[at, guesses[at]]
            names, units = table["sample"].take(at).to_pylist(), table["unit"].take(at).to_pylist()
            found.surest = sorted(zip(scores.tolist(), names, units, labels[at].tolist(), guesses[at].tolist(),
                                      strict=True), key=lambda m: (-m[0], m[1]))  # fmt: skip
    return found


def _lines(own: _Found, classes: Sequence[str]) -> list[list[str]]:
    of_row = own.counts.sum(1)
    return [
        [classes[i], classes[j], str(own.counts[i, j]), number(own.counts[i, j] / of_row[i] if of_row[i] else None)]
        for i in range(len(classes))
        for j in range(len(classes))
    ]


def _mistakes(
    column: Sequence[CellRef], found: Mapping[str, _Found], classes: Sequence[str], thumbnails: Mapping[str, dict]
) -> Mistakes:
    cell, shown = column[0], list(found.items())[:MOST_CHECKPOINTS]
    small = len(classes) <= MOST_CLASSES
    repeats = sorted({own.repeats for own in found.values()})
    count = str(repeats[0]) if len(repeats) == 1 else f"{repeats[0]} to {repeats[-1]}"
    what = f"{cell.protocol}, {percent(cell.fraction)} of the labels"
    caption = (
        f"{what}, all {count} repeats together. A row is a true class; numbers are per cent of it, by the class with "
        "the highest score."
    )
    if not small:
        caption = f"With {len(classes)} classes the matrices are in tables/confusion.csv alone."
    pictures = []
    for name, own in shown:
        once = list({m[1]: m for m in reversed(own.surest) if m[1] in thumbnails}.values())[::-1]
        chosen = [_picture(m, classes, thumbnails[m[1]]) for m in once[:_SHOWN]]
        pictures.append((name, f"{len(once)} of {len(thumbnails)} wrong", chosen))
    pictures_caption = (
        f"Of the {len(thumbnails)} test images that pictures were kept of (drawn by the study's seed), those that a "
        f"checkpoint got wrong with the highest score. {what}, repeat 0. The surest mistakes among all test images are "
        "in tables/mistakes.csv."
    )
    note = "" if len(found) <= MOST_CHECKPOINTS else f"The first {MOST_CHECKPOINTS} of {len(found)} checkpoints."
    matrices = [(name, _matrix(name, own.counts, classes)) for name, own in shown] if small else []
    return Mistakes(cell.task, caption, matrices, pictures_caption if thumbnails else "",
                    pictures if thumbnails else [], note)  # fmt: skip


def _picture(mistake: tuple[float, str, str, int, int], classes: Sequence[str], small: dict) -> Picture:
    score, sample, unit, truth, guess = mistake
    said = f"{classes[guess]} {score:.2f}, is {classes[truth]}"
    return Picture(jpeg_address(small["image"]), said, f"Test image {sample} of {unit}: {said}")


def _matrix(name: str, counts: np.ndarray, classes: Sequence[str]) -> HeatMap:
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    rows: list[tuple[str, list[HeatCell | None]]] = []
    for i, truth in enumerate(classes):
        own = [_cell(name, truth, guess, shares[i, j], counts[i, j], i == j) for j, guess in enumerate(classes)]
        rows.append((truth, [*own]))
    return HeatMap(name, [(c, "") for c in classes], rows)


def _cell(name: str, truth: str, guess: str, share: float, count: int, right: bool) -> HeatCell:
    return HeatCell(f"{100 * share:.0f}", "", float(share if right else -share),
                    f"{name}: {100 * share:.1f} % of {truth} called {guess} ({count})")  # fmt: skip
