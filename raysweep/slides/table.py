"""The slides of a patch set: from a CSV table or a glob of files."""

import csv
import glob
import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from raysweep.errors import RequestError
from raysweep.slides.spec import PatchSetSpec

SPLITS = ("train", "val", "test")
_OWN = ("slide", "path", "mpp", "patient", "site", "label", "split")


@dataclass(frozen=True)
class SlideEntry:
    """One slide as the request names it. `mpp` is what the table gives (um per level-0 pixel), not the file's own."""

    name: str
    path: str  # where to open it
    mpp: float | None = None
    patient: str | None = None
    site: str | None = None
    label: str | None = None
    split: str | None = None
    extra: dict[str, str] = field(default_factory=dict)
    given: str = ""  # the path as the table or the glob has it

    @property
    def unit(self) -> tuple[str, str]:
        """What is independent: the patient where known, else the slide."""
        return ("patient", self.patient) if self.patient is not None else ("slide", self.name)


def read_slides(spec: PatchSetSpec, base: Path) -> list[SlideEntry]:
    """The slides that `spec` names, sorted by name; `base` is the folder of the study file.

    Raises RequestError, naming the file and the row, when the table is missing or empty or a value makes no sense.
    """
    root = base / Path(spec.root).expanduser() if spec.root is not None else None
    if spec.slides.lower().endswith(".csv"):
        table = base / Path(spec.slides).expanduser()
        where, rows = f"slide table {table}", _read_csv(table)
        root = root or table.parent
    else:
        where, rows = f"slides {spec.slides}", _read_glob(spec.slides, root or base)
        root = root or base
    rows = [row for row in rows if _wanted(row, spec.where, where)]
    if not rows:
        raise RequestError(f"{where}: no slide is left after the filters of `where`; change or remove them")
    entries = sorted((_entry(row, root, where) for row in rows), key=lambda entry: entry.name)
    _check_names(entries, where)
    _check_units(entries, where)
    return entries


def _read_csv(path: Path) -> list[dict[str, str]]:
    """Rows with their line number under `#`. Byte order mark, spaces around cells and empty lines do not matter."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RequestError(f"slide table {path}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"slide table {path}: is not UTF-8 text; save it as a UTF-8 CSV") from error
    lines = csv.reader(io.StringIO(text, newline=""))
    header = [cell.strip() for cell in next(lines, [])]
    if "path" not in header:
        raise RequestError(f"slide table {path}: has no column `path`; name the slide files in one")
    double = [name for name, n in Counter(header).items() if n > 1]
    if double:
        raise RequestError(f"slide table {path}: has two columns `{double[0]}`; keep one")
    rows = []
    for cells in lines:
        cells = [cell.strip() for cell in cells]
        if not any(cells):
            continue
        if len(cells) > len(header):
            raise RequestError(
                f"slide table {path}, line {lines.line_num}: has {len(cells)} cells for {len(header)} columns; "
                "quote a cell that holds a comma"
            )
        rows.append({**dict.fromkeys(header, ""), **dict(zip(header, cells, strict=False)), "#": str(lines.line_num)})
    if not rows:
        raise RequestError(f"slide table {path}: has no row; list one slide a line")
    return rows


def _read_glob(pattern: str, root: Path) -> list[dict[str, str]]:
    found = glob.glob(pattern, root_dir=root, recursive=True) if not Path(pattern).is_absolute() else glob.glob(pattern)
    files = sorted(name for name in found if (root / name).is_file())
    if not files:
        raise RequestError(
            f"slides {pattern}: no such file below {root}; name a slide table (.csv) or a glob of slides"
        )
    return [{"path": name, "#": name} for name in files]


def _wanted(row: Mapping[str, str], filters: Mapping[str, str | list[str]], where: str) -> bool:
    for column, values in filters.items():
        if column not in row or column == "#":
            columns = ", ".join(name for name in row if name != "#")
            raise RequestError(f"{where}: `where` names the column `{column}`, which is not one of {columns}")
        if row[column] not in ([values] if isinstance(values, str) else values):
            return False
    return True


def _entry(row: Mapping[str, str], root: Path, where: str) -> SlideEntry:
    line = f"{where}, line {row['#']}" if row["#"].isdigit() else where
    given = row["path"]
    if not given:
        raise RequestError(f"{line}: `path` is empty; name the slide file")
    split = row.get("split") or None
    if split is not None and split not in SPLITS:
        raise RequestError(f"{line}: `split` is {split}; write one of {', '.join(SPLITS)}, or nothing")
    return SlideEntry(
        name=row.get("slide") or Path(given).stem,
        path=(root / Path(given).expanduser()).absolute().as_posix(),
        mpp=_mpp(row.get("mpp", ""), line),
        patient=row.get("patient") or None,
        site=row.get("site") or None,
        label=row.get("label") or None,
        split=split,
        extra={name: cell for name, cell in row.items() if name not in _OWN and name != "#" and cell},
        given=given,
    )


def _mpp(text: str, line: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise RequestError(f"{line}: `mpp` is {text}; write um per pixel as a number above 0, or nothing")
    return value


def _check_names(entries: Iterable[SlideEntry], where: str) -> None:
    for name, n in Counter(entry.name for entry in entries).items():
        if n > 1:
            raise RequestError(f"{where}: {n} slides are called {name}; give each its own name in a column `slide`")


def _check_units(entries: Iterable[SlideEntry], where: str) -> None:
    splits: dict[tuple[str, str], str] = {}
    for entry in entries:
        if entry.split is not None and splits.setdefault(entry.unit, entry.split) != entry.split:
            raise RequestError(
                f"{where}: {entry.unit[0]} {entry.unit[1]} is in the splits {splits[entry.unit]} and {entry.split}; "
                "keep all its slides in one"
            )
