"""The slides of a patch set: from a CSV table or a glob of files."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import quote

import pyarrow.fs as pafs

from raysweep.errors import RequestError
from raysweep.slides.listing import Row, list_rows
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.tcga import tcga_columns
from raysweep.storage import Storage, is_address, join, locate, shown

SPLITS = ("train", "val", "test")
STAINS = ("he", "ihc", "cytology", "trichrome")
SplitBy = Literal["patient", "site"]
_FILES = ("mask", "annotations", "coords")
_WORDS = ("patient", "site", "label", "split", "sample_type", "preparation")
_OWN = ("slide", "path", "mpp", "stain", *_WORDS, *_FILES)
_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")


@dataclass(frozen=True)
class SlideEntry:
    """One slide as the request names it; plain values, so that `asdict` and JSON carry it to other processes.

    Attributes:
        name: its own name in the patch set.
        path: where to open it: an absolute path, or an address on object storage.
        mpp: what the table gives (um per level-0 pixel), not the file's own.
        patient, site, label, split: of the table; patient and site also of a TCGA name.
        extra: the table's other columns.
        given: the path as the table or the glob has it; an address without its password and options.
        stain: one of `STAINS`.
        mask, annotations, coords: files that belong to the slide, resolved as `path` is.
        sample_type: tumor, normal or control, where a TCGA name tells it; else the table's word.
        preparation: ffpe or frozen, likewise.
    """

    name: str
    path: str
    mpp: float | None = None
    patient: str | None = None
    site: str | None = None
    label: str | None = None
    split: str | None = None
    extra: dict[str, str] = field(default_factory=dict)
    given: str = ""
    stain: str = "he"
    mask: str | None = None
    annotations: str | None = None
    coords: str | None = None
    sample_type: str | None = None
    preparation: str | None = None

    def unit(self, split_by: SplitBy = "patient") -> tuple[str, str]:
        """What is independent: the patient (or the site) where known, else the slide."""
        key = self.site if split_by == "site" else self.patient
        return (split_by, key) if key is not None else ("slide", self.name)

    @property
    def columns(self) -> dict[str, str]:
        """Every column of the slide table as text, those that the name tells included; empty where not known."""
        words = {name: getattr(self, name) or "" for name in (*_WORDS, *_FILES)}
        mpp = "" if self.mpp is None else str(self.mpp)
        return {"slide": self.name, "path": self.given, "mpp": mpp, "stain": self.stain, **words, **self.extra}


def read_slides(spec: PatchSetSpec, base: Path) -> list[SlideEntry]:
    """The slides that `spec` names, sorted by name; `base` is the folder of the study file.

    What a TCGA name tells fills empty cells and may be filtered on. Raises RequestError, naming the file and the row,
    when the table is missing or empty or a value makes no sense.
    """
    where, root, rows = list_rows(spec, base)
    rows = [_told(row) for row in rows]
    rows = _wanted(rows, spec.where, where)
    if not rows:
        raise RequestError(f"{where}: no slide is left after the filters of `where`; change or remove them")
    coords = _coords_of(spec, base)
    entries = sorted((_entry(row, root, coords, where) for row in rows), key=lambda entry: entry.name)
    _check_names(entries, where)
    _check_units(entries, spec.split_by, where)
    return entries


def _told(row: Row) -> Row:
    """The row with what the name of its slide tells and what is meant by default; a cell of the table wins."""
    stem = _stem(row["path"])
    name = row.get("slide") or stem
    told = tcga_columns(name) or tcga_columns(stem)
    told |= {"slide": name, "stain": "he"}
    return {**row, **{column: row.get(column) or cell for column, cell in told.items()}}


def _stem(path: str) -> str:
    return PurePosixPath(shown(path).replace("\\", "/")).stem


def _wanted(rows: Sequence[Row], filters: Mapping[str, str | list[str]], where: str) -> list[Row]:
    known = list(dict.fromkeys(name for row in rows for name in row if name != "#"))
    for column, values in filters.items():
        if column not in known:
            raise RequestError(f"{where}: `where` names the column `{column}`, which is not one of {', '.join(known)}")
        rows = [row for row in rows if row.get(column, "") in ([values] if isinstance(values, str) else values)]
    return list(rows)


def _coords_of(spec: PatchSetSpec, base: Path) -> dict[str, str]:
    """The files of the folder of coordinates, by name of the slide: NAME.h5, or NAME_patches.h5 as TRIDENT writes.

    Both also with %2F for a slash in the name, as exports of raysweep are called.
    """
    if spec.coords is None:
        return {}
    folder = join(base.as_posix(), spec.coords)
    try:
        names = Storage.open(folder).names()
    except OSError as error:
        raise RequestError(f"coords {shown(folder)}: cannot be listed ({error}); name a folder") from error
    found = [name for name in names if name.endswith(".h5")]
    if not found:
        raise RequestError(f"coords {shown(folder)}: holds no .h5 file; name the folder of CLAM or TRIDENT coordinates")
    found.sort(key=lambda name: not name.endswith("_patches.h5"))  # a later one wins
    stems = ((name.removesuffix(".h5"), join(folder, name)) for name in found)
    return {key: path for stem, path in stems for key in (stem.removesuffix("_patches"), stem)} | {"": folder}


def _entry(row: Row, root: str, coords: Mapping[str, str], where: str) -> SlideEntry:
    line = f"{where}, {'line ' if row['#'].isdigit() else ''}{row['#']}"
    if not row["path"]:
        raise RequestError(f"{line}: `path` is empty; name the slide file")
    for column, words in (("split", SPLITS), ("stain", STAINS)):
        if row.get(column, "") not in ("", *words):
            raise RequestError(f"{line}: `{column}` is {row[column]}; write one of {', '.join(words)}, or nothing")
    files = {column: _resolve(row[column], root, column, line) for column in _FILES if row.get(column)}
    if coords and "coords" not in files:
        name = row["slide"]
        files["coords"] = coords.get(name) or coords.get(quote(name, safe=" ")) or join(coords[""], f"{name}.h5")
    return SlideEntry(
        name=row["slide"],
        path=_resolve(row["path"], root, "path", line),
        mpp=_mpp(row.get("mpp", ""), line),
        **{column: row.get(column) or None for column in _WORDS},
        extra={name: cell for name, cell in row.items() if name not in _OWN and name != "#" and cell},
        given=shown(row["path"]),
        stain=row["stain"],
        **files,
    )


def _resolve(cell: str, root: str, column: str, line: str) -> str:
    """The absolute path, or the address, of what a cell names."""
    if _DRIVE.match(cell):
        raise RequestError(
            f"{line}: `{column}` is the Windows path {cell}; write it relative, and name its folder as root"
        )
    path = join(root, cell)
    if "\\" in cell and (is_address(root) or not Path(path).exists()):
        path = join(root, cell.replace("\\", "/"))
    if not is_address(path):
        return path
    try:
        fs, inside = locate(path)
    except RequestError as error:
        raise RequestError(f"{line}: {error}") from error
    return inside if isinstance(fs, pafs.LocalFileSystem) else path


def _mpp(text: str, line: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text.replace(",", "."))  # the decimal sign of half of the world's spreadsheets
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise RequestError(f"{line}: `mpp` is {text}; write um per pixel as a number above 0, or nothing")
    return value


def _check_names(entries: Sequence[SlideEntry], where: str) -> None:
    for name, n in Counter(entry.name for entry in entries).items():
        if n > 1:
            raise RequestError(f"{where}: {n} slides are called {name}; give each its own name in a column `slide`")


def _check_units(entries: Sequence[SlideEntry], split_by: SplitBy, where: str) -> None:
    splits: dict[tuple[str, str], str] = {}
    sites: dict[str, str] = {}
    for entry in entries:
        if split_by == "site":
            if entry.site is None:
                raise RequestError(
                    f"{where}: slide {entry.name} has no `site`, which `split_by: site` needs; fill it in"
                )
            if entry.patient is not None and sites.setdefault(entry.patient, entry.site) != entry.site:
                raise RequestError(
                    f"{where}: patient {entry.patient} is at the sites {sites[entry.patient]} and {entry.site}; "
                    "with `split_by: site` a patient has one"
                )
        unit = entry.unit(split_by)
        if entry.split is not None and splits.setdefault(unit, entry.split) != entry.split:
            raise RequestError(
                f"{where}: {unit[0]} {unit[1]} is in the splits {splits[unit]} and {entry.split}; "
                "keep all its slides in one"
            )
