"""The slides of a patch set: from a CSV table, a folder or a glob of files."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import quote

import pyarrow.fs as pafs

from raysweep.addresses import is_address, join, locate, shown
from raysweep.errors import RequestError
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.listing import Row, list_rows, tcga_columns
from raysweep.slides.table.missing import says_nothing
from raysweep.slides.table.series import one_per_series
from raysweep.storage import Storage

SPLITS = ("train", "val", "test")
STAINS = ("he", "ihc", "cytology", "trichrome")
SplitBy = Literal["patient", "site"]
_FILES = ("mask", "annotations", "coords")
_WORDS = ("patient", "site", "label", "split", "sample_type", "preparation")
_OWN = ("slide", "path", "mpp", "stain", *_WORDS, *_FILES)
_NAMED = 5  # problems that one sentence tells
_STEM_BYTES = 240  # of a file's name: most file systems take 255, suffix included
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

    What a TCGA name tells fills empty cells and may be filtered on. Raises RequestError, naming the file and the rows,
    when the table is missing or empty or values make no sense.
    """
    where, root, rows = list_rows(spec, base)
    _check_columns(rows, where)
    rows = [_told(row) for row in rows]
    rows = _wanted(rows, spec.where, where)
    if not rows:
        raise RequestError(f"{where}: no slide is left after the filters of `where`; change or remove them")
    coords = _coords_of(spec, base)
    entries, problems = [], []
    for row in rows:
        try:
            entries.append(_entry(row, root, coords))
        except RequestError as error:
            problems.append(str(error))
    _refuse(problems, f"{where}, ")
    entries = sorted(one_per_series(entries), key=lambda entry: entry.name)
    check_slides(entries, spec, where)
    return entries


def check_slides(entries: Sequence[SlideEntry], spec: PatchSetSpec, where: str) -> None:
    """Raise RequestError, which begins with `where`, unless slides have names of their own, a patient is in one split
    and so is a file."""
    _refuse(_double_names(entries), f"{where}: ")
    splits: dict[tuple[str, str], str] = {}
    _refuse(_divided_units(entries, spec.split_by, splits), f"{where}: ")
    _refuse(_divided_files(entries, spec, splits), f"{where}: ")


def file_stem(slide: str) -> str:
    """A slide's name as that of a file, without suffix: odd characters as %XX, a long name cut and told by a hash."""
    stem = quote(slide, safe=" ")
    if len(stem) <= _STEM_BYTES:
        return stem
    told = blake2b(slide.encode(), digest_size=8).hexdigest()
    return f"{re.sub('%.?$', '', stem[: _STEM_BYTES - len(told) - 1])}-{told}"


def _refuse(problems: Sequence[str], start: str) -> None:
    """Raise RequestError for the first few problems, each `what; advice`; the same advice is given once."""
    if not problems:
        return
    told: dict[str, list[str]] = {}
    for problem in problems[:_NAMED]:
        what, _, advice = problem.partition("; ")
        told.setdefault(advice, []).append(what)
    text = "; ".join("; ".join(filter(None, [", ".join(what), advice])) for advice, what in told.items())
    more = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
    raise RequestError(f"{start}{text}{more}")


def _told(row: Row) -> Row:
    """The row with what the name of its slide tells and what is meant by default; a cell of the table wins."""
    row = {column: cell if column in ("path", *_FILES) else _readable(cell) for column, cell in row.items()}
    stem = _stem(row["path"])
    name = row.get("slide") or stem
    told = tcga_columns(name) or tcga_columns(stem)
    told |= {"slide": name, "stain": "he"}
    return {**row, **{column: row.get(column) or cell for column, cell in told.items()}}


def _check_columns(rows: Sequence[Row], where: str) -> None:
    """Raise RequestError for a column that is called like one of ours but for its capitals: it would not be read."""
    known = {column for row in rows[:1] for column in row}
    for column in sorted(known):
        meant = column.lower()
        if meant != column and meant in _OWN and meant not in known:
            raise RequestError(
                f"{where}: has a column `{column}` and none `{meant}`; call it `{meant}`, or, if it is something else, "
                f"give `{meant}` another content under `columns`, even an empty one"
            )


def _readable(text: str) -> str:
    """Of a file's name that is not UTF-8, the odd bytes as \\udcNN: no table holds them as they are."""
    return text.encode(errors="backslashreplace").decode()


def _stem(path: str) -> str:
    return _readable(PurePosixPath(shown(path).replace("\\", "/")).stem)


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


def _entry(row: Row, root: str, coords: Mapping[str, str]) -> SlideEntry:
    line = f"{'line ' if row['#'].isdigit() else ''}{row['#']}"
    if not row["path"]:
        raise RequestError(f"{line}: `path` is empty; name the slide file")
    for column, words in (("split", SPLITS), ("stain", STAINS)):
        if row.get(column, "") not in ("", *words):
            raise RequestError(f"{line}: `{column}` is {row[column]}; write one of {', '.join(words)}, or nothing")
    for column in ("path", "patient", *_FILES):  # not the site: TCGA has one that is called NA
        if says_nothing(row.get(column, "")):
            raise RequestError(f"{line}: `{column}` is {row[column]}; leave the cell empty where nothing is known")
    files = {column: _resolve(row[column], root, column, line) for column in _FILES if row.get(column)}
    if coords and "coords" not in files:
        name = row["slide"]
        files["coords"] = coords.get(name) or coords.get(file_stem(name)) or join(coords[""], f"{name}.h5")
    return SlideEntry(
        name=row["slide"],
        path=_resolve(row["path"], root, "path", line),
        mpp=_mpp(row.get("mpp", ""), line),
        **{column: row.get(column) or None for column in _WORDS},
        extra={name: cell for name, cell in row.items() if name not in _OWN and name != "#" and cell},
        given=_readable(shown(row["path"])),
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


def _double_names(entries: Sequence[SlideEntry]) -> list[str]:
    named: dict[str, list[SlideEntry]] = {}
    for entry in entries:
        named.setdefault(entry.name, []).append(entry)
    return [
        f"{len(same)} slides are called {name} ({same[0].given}, {same[1].given}{', ...' if len(same) > 2 else ''}); "
        "give each its own name in the column `slide` of a slide table"
        for name, same in named.items()
        if len(same) > 1
    ]


def _divided_units(entries: Sequence[SlideEntry], split_by: SplitBy, splits: dict[tuple[str, str], str]) -> list[str]:
    """Patients and sites that are on two sides; fills `splits` with the split of each unit that has one."""
    problems: dict[str, None] = {}  # in order, each once
    sites: dict[str, str] = {}
    for entry in entries:
        if split_by == "site":
            if entry.site is None:
                problems[f"slide {entry.name} has no `site`; fill in what `split_by: site` needs"] = None
                continue
            if entry.patient is not None and sites.setdefault(entry.patient, entry.site) != entry.site:
                problems[
                    f"patient {entry.patient} is at the sites {sites[entry.patient]} and {entry.site}; "
                    "with `split_by: site` a patient has one"
                ] = None
        unit = entry.unit(split_by)
        if entry.split is not None and splits.setdefault(unit, entry.split) != entry.split:
            problems[
                f"{unit[0]} {unit[1]} is in the splits {splits[unit]} and {entry.split}; keep all its slides in one"
            ] = None
    return list(problems)


def _divided_files(
    entries: Sequence[SlideEntry], spec: PatchSetSpec, splits: Mapping[tuple[str, str], str]
) -> list[str]:
    """Files that are slides of several units, of which not all are known to come into one split."""
    dealt = any(fraction > 0 for fraction in spec.split.values())
    if not dealt and not splits:
        return []
    files: dict[str, list[SlideEntry]] = {}
    for entry in entries:
        files.setdefault(_file(entry.path), []).append(entry)
    problems = []
    for same in files.values():
        sides = {entry.unit(spec.split_by): "" if dealt else "train" for entry in same}
        sides |= {unit: splits[unit] for unit in sides if unit in splits}
        if len(sides) > 1 and (len(set(sides.values())) > 1 or "" in sides.values()):
            units = sorted(sides, key=lambda unit: (sides[unit], unit))
            two = [next(e for e in same if e.unit(spec.split_by) == unit) for unit in (units[0], units[-1])]
            one, other = sorted(two, key=lambda entry: entry.name)
            problems.append(
                f"the slides {one.name} and {other.name} are one file, {one.given}, and may come into two splits; "
                f"name a file once, or give its slides one {spec.split_by}"
            )
    return problems


def _file(path: str) -> str:
    """What the paths of one file have in common."""
    if is_address(path):
        return shown(path)
    with suppress(ValueError):  # a NUL
        return os.path.realpath(path)
    return path
