"""Values within subgroups of the test images: by site, scanner, stain, or whatever a card names. Exploratory."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from raysweep.errors import WorkError
from raysweep.report.blocks import ValueCell
from raysweep.report.cells import CellRef, percent
from raysweep.report.intervals import Interval, cell_interval
from raysweep.report.jackknife import by_repeat, read_predictions, scores_of
from raysweep.report.rows import fits, of_metric
from raysweep.report.sizes import unit_words
from raysweep.report.spec import CompareSpec
from raysweep.report.tables import Table, number
from raysweep.storage import Storage
from raysweep.tasks.subgroups import read_subgroups

MOST_SUBGROUPS = 8  # of one kind on the page, those with the most test images; the table has all
_HEADERS = ("task", "protocol", "fraction", "checkpoint", "metric", "kind of subgroup", "subgroup", "test images",
            "test units", "value", "low", "high", "reason", "seen")  # fmt: skip


@dataclass
class SubgroupBlock:
    """Of one task and kind of subgroup, under the primary protocol at its largest fraction: a column per subgroup with
    what stands below its name, a row per checkpoint. left: subgroups that are in the table alone."""

    task: str
    kind: str
    metric: str
    caption: str
    columns: list[tuple[str, list[str]]]
    rows: list[tuple[str, list[ValueCell]]] = field(default_factory=list)
    left: int = 0


@dataclass(frozen=True)
class _Found:
    """One cell within one subgroup."""

    cell: CellRef
    metric: str
    kind: str
    subgroup: str
    images: int
    unit: str
    interval: Interval
    few: bool  # units, or units of a class


def subgroup_values(
    cells: Sequence[CellRef], rows: Mapping[str, pa.Table], tasks: Mapping[str, Storage], compare: CompareSpec
) -> tuple[list[SubgroupBlock], Table]:
    """Of every task whose card names subgroups, and a table of all cells on their tasks' own test sets.

    cells: finished ones; rows: what `read_rows` gave. tasks: folders of the tasks' indexes, where subgroups are.
    A value is that of the rows of predictions in the subgroup, over repeats and its test units as elsewhere; where
    these are too few for an interval (`report.enough`) there is none. Nothing is compared, corrected or concluded.
    """
    blocks: dict[tuple[str, str], list[_Found]] = {}
    lines = []
    for task, own in _by_task(cells).items():
        groups = _read(tasks.get(task))
        if not groups:
            continue
        primary = [cell for cell in own if cell.protocol == compare.primary.protocol] or own
        most = max(cell.fraction for cell in primary)
        shown = {cell.key for cell in primary if cell.fraction == most and cell.protocol == primary[0].protocol}
        for cell in own:
            for found in _within(cell, rows[cell.path], groups, compare):
                lines.append(_line(found))
                if cell.key in shown:
                    blocks.setdefault((task, found.kind), []).append(found)
    numbers = frozenset({"fraction", "test images", "test units", "value", "low", "high"})
    return [_block(found) for found in blocks.values()], Table("subgroups", _HEADERS, lines, numbers)


def _by_task(cells: Sequence[CellRef]) -> dict[str, list[CellRef]]:
    out: dict[str, list[CellRef]] = {}
    for cell in cells:
        if not cell.tested_on:
            out.setdefault(cell.task, []).append(cell)
    return out


def _read(folder: Storage | None) -> Mapping[str, Mapping[str, pa.Array]]:
    try:
        return read_subgroups(folder) if folder else {}
    except (OSError, pa.ArrowException):  # of a folder that was damaged; its values stand without them
        return {}


def _within(
    cell: CellRef, finals: pa.Table, groups: Mapping[str, Mapping[str, pa.Array]], compare: CompareSpec
) -> Iterator[_Found]:
    asked = compare.primary.metric
    metric = asked if asked and fits(asked, cell.kind) else cell.metrics[0]
    valued = of_metric(finals, metric, cell.test_set)
    rows = by_repeat(valued.filter(pc.is_valid(valued["value"])))
    try:
        tables = read_predictions(cell, rows, metric)
    except WorkError:  # the values say so
        return
    for kind, named in groups.items():
        for subgroup, ids in named.items():
            parts = [table.filter(pc.is_in(table["sample"], value_set=ids)) for table in tables]
            if not parts or not all(part.num_rows for part in parts):  # in train alone
                continue
            scores = scores_of(cell, rows, parts, metric)
            images = len(pc.unique(parts[0]["sample"]))
            interval = cell_interval(scores, compare.alpha)
            yield _Found(cell, metric, kind, subgroup, images, scores.unit, interval, bool(scores.lack))


def _line(found: _Found) -> list[str]:
    cell, i = found.cell, found.interval
    seen = next((s.word for s in cell.seen if s.test_set == cell.test_set), "")
    return [
        cell.task, cell.protocol, f"{cell.fraction:g}", cell.checkpoint, found.metric, found.kind, found.subgroup,
        str(found.images), str(i.n_units), number(i.value), number(i.low), number(i.high),
        f"too few: {i.reason}" if found.few else i.reason, seen,
    ]  # fmt: skip


def _block(found: Sequence[_Found]) -> SubgroupBlock:
    sizes = {f.subgroup: (f.images, f.interval.n_units) for f in found}
    ranked = sorted(sizes, key=lambda name: (-sizes[name][0], name))
    names = sorted(ranked[:MOST_SUBGROUPS])
    first = found[0]
    columns = []
    for name in names:
        images, units = sizes[name]
        said = [f"{images} image{'s' * (images != 1)}"]
        said += [] if first.unit == "image" else [f"{units} {unit_words(first.unit, units)}"]
        columns.append((name, said))
    caption = (
        f"{first.cell.protocol}, {percent(first.cell.fraction)} of the labels: the same finals on the test images of "
        f"each {first.kind} alone."
    )
    block = SubgroupBlock(first.cell.task, first.kind, first.metric, caption, columns, left=len(sizes) - len(names))
    at = {(f.cell.checkpoint, f.subgroup): f for f in found}
    for name in dict.fromkeys(f.cell.checkpoint for f in found):
        block.rows.append((name, [_cell(at.get((name, subgroup))) for subgroup in names]))
    return block


def _cell(found: _Found | None) -> ValueCell:
    if found is None:
        return ValueCell("", "", missing=True)
    i = found.interval
    if found.few:
        return ValueCell("too few", i.reason, missing=True)
    if i.low is None:
        return ValueCell(number(i.value, 3) + found.cell.mark, f"no interval: {i.reason}")
    return ValueCell(number(i.value, 3) + found.cell.mark, f"{number(i.low, 3)} – {number(i.high, 3)}")
