"""A copy of a report that can be given away: no pictures, no names of units, and all that `raysweep verify` needs."""

import json
import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from raysweep.backbones.checkpoint import FILE as WEIGHTS
from raysweep.backbones.checkpoint import read_info
from raysweep.errors import RequestError, WorkError
from raysweep.patches.outcomes import SLIDES, SlideOutcome, read_outcomes
from raysweep.report.cells import CellRef, RepeatRef
from raysweep.report.choices import FILE as CHOICES
from raysweep.report.neutral import Neutral
from raysweep.report.registration import FILE as COMPARE
from raysweep.report.seen import IMAGES, LABELS, Seen
from raysweep.report.told import read_told
from raysweep.report.write import write_report
from raysweep.storage import MANIFEST, Storage

_NOTE = """A shared copy of a raysweep report: report/index.html is the page, report/tables/ has its numbers.

Names of patients, slides and images are replaced by numbers that have nothing to do with them, and pictures are left
out. cells/ holds the predictions that every number was made from; to make them again:

    pip install raysweep
    raysweep verify .
"""


def check_free(out: Storage) -> None:
    """Raise RequestError unless a copy can be written there: nothing is, that may be somebody's work."""
    if out.names():
        raise RequestError(f"--share {out.root}: there is something in this folder already; name a new one")


def share_report(home: Storage, out: Storage) -> Storage:
    """Copy the report of a study's folder and the files that it rests on, with neutral names. Returns out's report/.

    Everything is written from what the report was told: prediction files with other names of units and images, rows of
    finals and trials, slide tables, and of checkpoints the head of the file, which says what they are, without weights.
    The report is then written from these, so its numbers are the same; with over `jackknife.MOST_BLOCKS` units these
    are dealt to blocks anew, and ends of intervals may differ in the third digit.
    Tasks' indexes are not copied, so subgroups, whose names may be those of hospitals, are left out.
    Raises RequestError when the folder is not empty or there is no report; WorkError for a damaged file.
    """
    check_free(out)
    told, names = read_told(home), Neutral()
    done = [repeat for cell in told.cells for repeat in cell.repeats if repeat.status == "done"]
    for repeat in done:
        for file in _predictions(repeat):
            names.learn_predictions(_read(repeat, *file.split("/")))
    for folder in told.patch_sets.values():
        names.learn_slides(_outcomes(folder))
    for repeat in done:
        _copy_repeat(repeat, out.at(*repeat.path.split("/")), names)
    patch_sets = {name: _copy_slides(folder, out.at("patches", name, _last(folder)), names)
                  for name, folder in told.patch_sets.items()}  # fmt: skip
    checkpoints = {
        name: [_copy_checkpoint(folder, out.at("checkpoints", name, str(i))) for i, folder in enumerate(folders)]
        for name, folders in told.checkpoints.items()
    }
    choices = [_copy_choice(folder, out.at("choices", str(i)), names) for i, folder in enumerate(told.choices)]
    if home.exists(COMPARE):
        out.write_json(home.read_json(COMPARE), COMPARE)
    out.write_bytes(_NOTE.encode(), "README.txt")
    shared = replace(
        told, question=names.text(told.question), patch_sets=patch_sets, checkpoints=checkpoints, choices=choices,
        cells=[_cell(cell, out, names) for cell in told.cells], tasks={}, features={},
    )  # fmt: skip
    return write_report(out, **shared.arguments())


def _cell(cell: CellRef, out: Storage, names: Neutral) -> CellRef:
    repeats = [replace(r, folder=out.at(*r.path.split("/")), reason=names.text(r.reason) or "") for r in cell.repeats]
    return replace(cell, repeats=tuple(repeats), seen=tuple(_seen(one, names) for one in cell.seen))


def _seen(seen: Seen, names: Neutral) -> Seen:
    """`2 of 9 test patients are in tissue: P1, P2` without whom."""
    reason = seen.reason.partition(": ")[0] if seen.word in (LABELS, IMAGES) else seen.reason
    return replace(seen, reason=names.text(reason) or "")


def _predictions(repeat: RepeatRef) -> list[str]:
    """The files of predictions that a repeat's rows name."""
    return [file for file in dict.fromkeys(_read(repeat, "final.parquet")["predictions"].to_pylist()) if file]


def _read(repeat: RepeatRef, *file: str) -> pa.Table:
    try:
        return repeat.folder.read_table(*file)
    except (OSError, pa.ArrowException) as error:
        raise WorkError(
            f"{repeat.path}/{'/'.join(file)}: cannot be read ({type(error).__name__}); nothing can be shared without it"
        ) from error


def _copy_repeat(repeat: RepeatRef, to: Storage, names: Neutral) -> None:
    for file in _predictions(repeat):
        table = _read(repeat, *file.split("/"))
        renamed: dict[str, Sequence[Any]] = {"unit": [names.unit(u) for u in table["unit"].to_pylist()],
                   "sample": [names.image(s) for s in table["sample"].to_pylist()]}  # fmt: skip
        to.write_table(_ordered(_put(table, renamed)), *file.split("/"))
    for name in ("final.parquet", "trials.parquet"):
        if repeat.folder.exists(name):
            table = _read(repeat, name)
            to.write_table(_put(table, {"reason": [names.text(t) for t in table["reason"].to_pylist()]}), name)


def _ordered(predictions: pa.Table) -> pa.Table:
    """By the new names: the order of files may tell the old ones."""
    return predictions.sort_by([("unit", "ascending"), ("sample", "ascending"), ("fold", "ascending")])


def _put(table: pa.Table, columns: dict[str, Sequence[Any]]) -> pa.Table:
    """The table with other values in these columns, and without what its writer said of it."""
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pa.array(values, pa.string()))
    return table.replace_schema_metadata(None)


def _copy_slides(folder: Storage, to: Storage, names: Neutral) -> Storage:
    rows = [
        {"slide": names.slide(s.slide), "status": s.status, "reason": names.text(s.reason),
         "patient": names.unit(s.patient), "split": s.split, "mpp": s.mpp, "mpp_source": s.mpp_source,
         "n_patches": s.n_patches, "dropped": s.dropped, "tissue_area_um2": s.tissue_area_um2}
        for s in _outcomes(folder)
    ]  # fmt: skip
    if rows:
        rows.sort(key=lambda row: (len(str(row["slide"])), str(row["slide"])))  # the old order may tell the old names
        to.write_table(pa.Table.from_pylist(rows), SLIDES)
    return to


def _outcomes(folder: Storage) -> list[SlideOutcome]:
    """None of a table that cannot be read: the report says so, the copy has no slides."""
    try:
        return read_outcomes(folder)
    except (OSError, TypeError, pa.ArrowException):
        return []


def _copy_checkpoint(folder: Storage, to: Storage) -> Storage:
    """The head of its file; none where it cannot be read."""
    try:
        info = read_info(folder).model_copy(update={"sources": [], "reference": None})
        counts = folder.read_json(MANIFEST).get("counts", {})
    except (RequestError, OSError, ValueError):
        return to
    head = json.dumps({"__metadata__": {"raysweep": info.model_dump_json(exclude_none=True)}}).encode()
    to.write_bytes(struct.pack("<Q", len(head)) + head, WEIGHTS)
    kept = {key: counts[key] for key in ("missing_keys", "stray_keys") if key in counts}
    to.write_json({"fingerprint": "", "counts": kept}, MANIFEST)
    return to


def _copy_choice(folder: Storage, to: Storage, names: Neutral) -> Storage:
    table = folder.read_table(CHOICES)
    to.write_table(_put(table, {"by": [names.text(t) for t in table["by"].to_pylist()]}), CHOICES)
    return to


def _last(folder: Storage) -> str:
    return folder.root.rsplit("/", 1)[-1]
