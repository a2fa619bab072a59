"""One slide for each series of DICOM, whichever of its files or folder is named."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar
from urllib.parse import quote, urlsplit

import pyarrow.fs as pafs

from raysweep.addresses import is_address, locate
from raysweep.errors import RequestError
from raysweep.slides.dicom import is_dicom_name, series_in

_THREADS = 16  # a few KiB are read of each file: waiting, not computing
_SAME = ("mpp", "patient", "site", "label", "split", "stain", "mask", "annotations", "coords")


class _Slide(Protocol):
    """What is used of a row of the slide table."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def given(self) -> str: ...


_Entry = TypeVar("_Entry", bound=_Slide)


class _Place(NamedTuple):
    """Where a row's file or folder is: `folder` of a file is the one around it, `file` of a folder is empty."""

    fs: pafs.FileSystem
    folder: str
    file: str

    @property
    def key(self) -> tuple[str, str]:
        return self.fs.type_name, self.folder


def one_per_series(entries: Sequence[_Entry]) -> list[_Entry]:
    """The entries, those of one series as one, which is at the series' first file by name.

    A slide that is not named by the table is called like the folder where that holds this series alone, else like the
    first file. Raises RequestError for a folder that holds several series, and for rows of one series that differ.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        places = list(pool.map(_place, entries))
        folders = {place.key: place for place in places if place is not None}
        found = dict(zip(folders, pool.map(_series_of, folders.values()), strict=True))
    kept: list[_Entry] = []
    merged: dict[tuple[tuple[str, str], str], _Entry] = {}
    for entry, place in zip(entries, places, strict=True):
        series = {} if place is None else found[place.key]
        if place is not None and not place.file and len(series) > 1:
            raise RequestError(
                f"slide {entry.name}: the folder {entry.given} holds {len(series)} series of DICOM; name a file of each"
            )
        uid = next((uid for uid, files in series.items() if place and (not place.file or place.file in files)), None)
        if place is None or uid is None:
            kept.append(entry)
            continue
        name = _name(entry, place, series[uid], alone=len(series) == 1)
        one: _Entry = replace(entry, path=_sibling(entry.path, place, series[uid][0]), name=name)
        known = merged.setdefault((place.key, uid), one)
        different = [column for column in _SAME if getattr(known, column, None) != getattr(one, column, None)]
        if different:
            raise RequestError(
                f"{known.given} and {entry.given} are files of one series of DICOM, which is one slide, and differ in "
                f"`{different[0]}`; keep one row"
            )
    twice = Counter(entry.name for entry in merged.values())
    for (place_key, _), entry in merged.items():
        above = PurePosixPath(place_key[1]).parent.name
        alike = twice[entry.name] > 1 and entry.name == PurePosixPath(place_key[1]).name
        kept.append(replace(entry, name=f"{above}/{entry.name}") if alike else entry)
    return kept


def _place(entry: _Slide) -> _Place | None:
    """Where a row may name DICOM; None where it names something else."""
    fs, inside = locate(entry.path)
    folder, _, name = inside.rpartition("/")
    try:
        if "." not in name or is_dicom_name(name):
            kind = fs.get_file_info(inside).type
            if kind == pafs.FileType.Directory:
                return _Place(fs, inside, "")
    except (OSError, ValueError):  # reading will say more
        return None
    return _Place(fs, folder, inside) if is_dicom_name(name) else None


def _series_of(place: _Place) -> dict[str, list[str]]:
    try:
        return {uid: [info.path for info in infos] for uid, infos in series_in(place.fs, place.folder).items()}
    except (OSError, ValueError):
        return {}


def _name(entry: _Slide, place: _Place, files: Sequence[str], *, alone: bool) -> str:
    """The slide's name: the same whichever file of the series is named, unless the table gives one."""
    given = PurePosixPath(place.file or place.folder)
    if entry.name.rpartition("/")[2] != given.stem or (place.file and len(files) == 1):
        return entry.name
    above = entry.name.rpartition("/")[0]  # a name that begins with folders, for its stem was that of another file
    if not place.file:
        return f"{above}/{given.name}" if above else given.name
    if alone:
        return above or PurePosixPath(place.folder).name
    first = PurePosixPath(files[0]).stem
    return f"{above}/{first}" if above else first


def _sibling(path: str, place: _Place, file: str) -> str:
    """`file`, which is in the folder of `place`, as `path` names that."""
    if not is_address(path):
        return file
    parts = urlsplit(path, allow_fragments=False)
    folder = parts.path.rpartition("/")[0] if place.file else parts.path.rstrip("/")
    return parts._replace(path=f"{folder}/{quote(PurePosixPath(file).name)}").geturl()
