"""Rows of slides as a table, a folder or a glob gives them, and what names of files tell."""

import glob
import os
import re
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pyarrow.fs as pafs

from raysweep.addresses import at_home, is_address, join, locate, shown
from raysweep.bounds import check_room
from raysweep.errors import RequestError, WorkError
from raysweep.slides.dicom import is_dicom_name
from raysweep.slides.spec import PatchSetSpec
from raysweep.slides.table.made_columns import Row, with_columns
from raysweep.slides.table.path_pattern import PathPattern
from raysweep.text_table import TIMES, parse_table

# What a folder is searched for, beside DICOM, of which each file stands for all of its slide.
_SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide", ".czi", ".vms", ".vmu", ".png",
             ".jpg", ".jpeg", ".bmp", ".webp")  # fmt: skip

_OTHER_TABLES = (".xlsx", ".xls", ".xlsm", ".ods", ".parquet", ".feather", ".json", ".jsonl", ".txt", ".tab", ".csv.gz",
                 ".tsv.gz", ".csv.zip")  # fmt: skip


def list_rows(spec: PatchSetSpec, base: Path) -> tuple[str, str, list[Row]]:
    """What to call the list in messages, the folder or address that its paths start from, and its rows.

    A row maps the columns to their cells, without the spaces around them, and `#` to its line number. Rows of a folder
    or a glob have a `path`, and that in `#`; the columns that stand in braces (see `PathPattern`); and a `slide` where
    the file's stem is that of another file, too: the path below the last folder that is not wild, without suffix. What
    is there under the very name is meant, even if it looks like a glob. Then come the columns that `spec.columns` makes
    of the others. `base` is the folder of the study file. Raises RequestError when the table cannot be read or is
    malformed, when the glob is, or when there is no row.
    """
    root = join(base.as_posix(), spec.root) if spec.root is not None else None
    if _path_of(spec.slides).lower().endswith(_OTHER_TABLES):
        raise RequestError(f"slides {shown(spec.slides)}: is a table, but no CSV; save it as a .csv (or .tsv)")
    if _path_of(spec.slides).lower().endswith((".csv", ".tsv")):
        table = join(base.as_posix(), spec.slides)
        where = f"slide table {shown(table)}"
        return where, root or _folder_of(table), with_columns(_read_table(table, where, spec), spec.columns, where)
    start, where = root or base.as_posix(), f"slides {shown(spec.slides)}"
    if is_address(spec.slides) or is_address(start):
        rows = _glob_address(join(start, spec.slides), where)
    else:
        rows = _glob(spec.slides, Path(start), where)
    return where, start, with_columns(rows, spec.columns, where)


def _path_of(address: str) -> str:
    return urlsplit(address, allow_fragments=False).path if is_address(address) else address


def _folder_of(table: str) -> str:
    if not is_address(table):
        return Path(table).parent.as_posix()
    parts = urlsplit(table, allow_fragments=False)
    return parts._replace(path=parts.path.rpartition("/")[0]).geturl()


def _read_table(table: str, where: str, spec: PatchSetSpec) -> list[Row]:
    fs, inside = locate(table)
    try:
        if fs.get_file_info(inside).type == pafs.FileType.Unknown:  # a pipe would be waited for
            raise RequestError(f"{where}: cannot be read (it is no file); check the path")
        with fs.open_input_file(inside) as file:
            check_room(TIMES * file.size(), where)
            data = file.read()
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or error
        raise RequestError(f"{where}: cannot be read ({reason}); check the path") from error
    except WorkError as error:
        raise RequestError(str(error)) from error
    found = parse_table(data, where)
    if "path" not in found.header and "path" not in spec.columns:
        raise RequestError(
            f"{where}: has no column `path`; name the slide files in one, or say under `columns` what gives it"
        )
    if found.double:
        raise RequestError(f"{where}: has two columns `{found.double[0]}`; keep one")
    if not found.rows:
        raise RequestError(f"{where}: has no row; list one slide a line")
    return found.rows


def _glob(text: str, root: Path, where: str) -> list[Row]:
    name = at_home(text)
    if text and os.path.isdir(root / name):
        try:
            names, folders = [file for file in os.listdir(root / name) if _is_slide(root / name / file)], set[str]()
            if not any(map(is_dicom_name, names)):  # a folder of folders, one for each slide
                folders = {file for file in os.listdir(root / name) if _holds_dicom(root / name / file)}
            names += folders
        except OSError as error:
            raise RequestError(f"{where}: cannot be listed ({error.strerror}); check the folder") from error
        return _in_folder({file: (name / file).as_posix() for file in names}, where, folders)
    if _is_slide(root / name):
        return [_row(name.as_posix())]
    pattern = PathPattern(name.as_posix(), where)
    if "**" in pattern.glob.split("/"):
        found = [path for path in _below(root, pattern, where) if pattern.columns(path) is not None]
    else:
        found = glob.glob(pattern.glob, root_dir=root)
    files = sorted({name.rstrip("/") for name in found if _is_slide(root / name) or _holds_dicom(root / name)})
    rows = _found(files, files, pattern)
    if not rows:
        raise RequestError(
            f"{where}: no such file below {root}; name a slide table (.csv), a folder or a glob of slides"
        )
    return rows


def _below(root: Path, pattern: PathPattern, where: str) -> Iterator[str]:
    """All files and folders below the pattern's fixed folder, but for folders that it cannot mean.

    A folder that a link leads to comes last, and not where it has come before: links can go round in a circle.
    Raises RequestError for a folder that cannot be listed.
    """
    waiting, links, seen = deque([pattern.top]), deque[str](), set[tuple[int, int]]()
    while waiting or links:
        folder = waiting.popleft() if waiting else links.popleft()
        try:
            here = os.stat(root / folder)
            if (here.st_dev, here.st_ino) in seen:
                continue
            seen.add((here.st_dev, here.st_ino))
            with os.scandir(root / folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise RequestError(f"{where}: {folder or root} cannot be listed ({error.strerror}); check it") from error
        for entry in entries:
            path = f"{folder.rstrip('/')}/{entry.name}" if folder else entry.name
            yield path
            is_link = entry.is_symlink()
            if (os.path.isdir(root / path) if is_link else entry.is_dir()) and pattern.means(entry.name):
                (links if is_link else waiting).append(path)


def _is_slide(path: Path) -> bool:
    """Whether this is a file, or a link to nothing: a slide that cannot be read, and as such is told."""
    return os.path.isfile(path) or (os.path.islink(path) and not os.path.exists(path))


def _holds_dicom(path: Path) -> bool:
    """Whether this is a folder with files of DICOM directly in it."""
    return path.is_dir() and any(is_dicom_name(name) for name in os.listdir(path))


def _in_folder(paths: Mapping[str, str], where: str, folders: Collection[str] = ()) -> list[Row]:
    """Rows of the slides and pictures among the files of a folder; `paths` say how they are to be reached, by name.

    Those in `folders` are folders of DICOM.
    """
    kinds = {name: PurePosixPath(name).suffix.lower() for name in paths if not name.startswith(".")}
    wanted = set(_SUFFIXES)
    if ".vms" in kinds.values():
        wanted -= {".jpg"}  # the parts of that slide
    rows = [
        _row(paths[name]) for name in sorted(kinds) if kinds[name] in wanted or is_dicom_name(name) or name in folders
    ]
    if not rows:
        raise RequestError(
            f"{where}: no slide or picture is directly in this folder ({' '.join(_SUFFIXES)} .dcm); name one with "
            "some, a glob or a slide table (.csv)"
        )
    return rows


def _row(path: str) -> Row:
    return {"path": path, "#": shown(path)}


def _glob_address(address: str, where: str) -> list[Row]:
    """One listing of the folder above the first wildcard, whatever the number of slides."""
    fs, inside = locate(address)
    try:
        (found,) = fs.get_file_info([inside])
        if found.type == pafs.FileType.File:
            return [_row(address)]
        if found.type == pafs.FileType.Directory:
            infos = fs.get_file_info(pafs.FileSelector(inside))
            names = [info.base_name for info in infos if info.type == pafs.FileType.File]
            return _in_folder({name: join(address, name) for name in names}, where)
        pattern, parts = PathPattern(inside, where), inside.split("/")
        fixed = pattern.fixed
        top = "/".join(parts[:fixed])
        infos = []
        if fixed < len(parts):
            infos = fs.get_file_info(pafs.FileSelector(top, recursive=fixed + 1 < len(parts) or "**" in parts))
    except OSError as error:
        raise RequestError(f"{where}: cannot be listed ({error.strerror or error}); check the address") from error
    files = sorted(info.path for info in infos if info.type == pafs.FileType.File)
    folder = urlsplit(address, allow_fragments=False)
    folder = folder._replace(path="/".join(folder.path.split("/")[: fixed - len(parts) or None]))
    names = [path[len(top) :].lstrip("/") for path in files]
    rows = _found(files, [join(folder.geturl(), name) for name in names], pattern)
    if not rows:
        raise RequestError(f"{where}: no such file; name a slide table (.csv), a folder or a glob of slides")
    return rows


def _found(names: Sequence[str], paths: Sequence[str], pattern: PathPattern) -> list[Row]:
    """Rows of those files whose names match; `paths` say how they are to be reached."""
    told = [(name, path, pattern.columns(name)) for name, path in zip(names, paths, strict=True)]
    matching = [(PurePosixPath(name), path, columns) for name, path, columns in told if columns is not None]
    stems = Counter(name.stem for name, _, _ in matching)
    rows = []
    for name, path, columns in matching:
        row = {**_row(path), **columns}
        if stems[name.stem] > 1:
            below = name.as_posix().split("/")[pattern.fixed :]
            row.setdefault("slide", PurePosixPath(*below).with_suffix("").as_posix())
        rows.append(row)
    return rows


# TCGA-<site>-<participant>-<sample type><vial>-<portion>-<slide>: GDC documentation, "TCGA Barcode"; later parts may
# be left out, and file names go on with a dot and a UUID.
_BARCODE = re.compile(
    r"(?P<patient>TCGA-(?P<site>[A-Z0-9]{2})-[A-Z0-9]{4})"
    r"(?:-(?P<code>\d{2})[A-Z]?(?:-\d{2}[A-Z]?(?:-(?P<slide>DX|TS|BS|MS)[A-Z0-9]*)?)?)?(?![A-Z0-9])",
    re.IGNORECASE,
)
_PREPARATION = {"DX": "ffpe", "TS": "frozen", "BS": "frozen", "MS": "frozen"}  # diagnostic; top, bottom, middle
_COLUMNS = ("patient", "site", "sample_type", "sample_code", "preparation")


def tcga_columns(name: str) -> dict[str, str]:
    """Columns of the slide table that a TCGA barcode tells; none for another name.

    `patient` is the barcode's first 12 characters, `site` the tissue source site (characters 6 and 7), `sample_type`
    tumor (codes 01 to 09), normal (10 to 19; 11 is solid tissue) or control (20 to 29), `sample_code` the code itself
    and `preparation` ffpe (slides DX) or frozen (TS, BS, MS).
    """
    found = _BARCODE.match(name)
    if found is None:
        return {}
    code, slide = found["code"] or "", (found["slide"] or "").upper()
    kind = {"0": "tumor", "1": "normal", "2": "control"}.get(code[:1], "") if code != "00" else ""
    told = (found["patient"].upper(), found["site"].upper(), kind, code, _PREPARATION.get(slide, ""))
    return {column: cell for column, cell in zip(_COLUMNS, told, strict=True) if cell}
