"""Count every printed number once more, from the prediction files: what a reviewer or a co-author runs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from raysweep import __version__
from raysweep.report.agree import Agreement
from raysweep.report.recount import DamagedError, Recount
from raysweep.report.registration import FILE as COMPARE
from raysweep.report.told import FILE, read_told
from raysweep.report.write import write_report
from raysweep.storage import Storage

_RESULTS = ("task", "protocol", "fraction", "checkpoint", "test_set", "metric", "repeat")
_CHOICES = ("grid", "rule", "task", "protocol", "fraction", "member", "ranked_on")


@dataclass(frozen=True)
class Verified:
    """What was found: a line for each difference, and how much was counted.

    n_numbers: of tables and files of results; n_shown: on the page and in figures; n_tables, n_files: tables that were
    made again and prediction files that they were made from. version: of raysweep that wrote the report, if another.
    damaged: files that it rests on are missing or cannot be read, so nothing was made again.
    """

    differences: list[str]
    n_numbers: int = 0
    n_shown: int = 0
    n_tables: int = 0
    n_files: int = 0
    version: str = ""
    damaged: bool = False

    @property
    def sentence(self) -> str:
        """The end of it, in one sentence."""
        by = f" (the report is by raysweep {self.version}, this is {__version__})" if self.version else ""
        if self.damaged:
            return f"files that the report rests on are missing or damaged, so it was not made again{by}"
        end = "all agree" if not self.differences else f"{_count(len(self.differences), 'difference')}, listed above"
        return (
            f"{self.n_numbers:,} numbers of {_count(self.n_tables, 'table')} and {self.n_shown:,} on the page and in "
            f"figures recomputed from {_count(self.n_files, 'prediction file')}: {end}{by}"
        )


def verify(folder: str | Path) -> Verified:
    """Make a report again from what lies in its study's folder, and compare it with the one that is there.

    folder: a study's folder, or the report/ in it; or what `raysweep report --share` wrote. The values of all finals
    are counted anew from predictions/, whatever final.parquet says, and the report is written once more from these
    into a temporary folder, by the code that wrote it: estimates, intervals, differences and verdicts. Then every
    number and word of results.parquet, the tables, the page and the figures is compared. What is not in predictions
    (counts of labels, times of trials, what slides and checkpoints say) is read again from its own files.

    Needs neither the study's file nor weights. Raises RequestError when there is no report in the folder.
    """
    place = Storage.open(folder)
    home = Storage(place.fs, place.root.rpartition("/")[0]) if place.exists(FILE) else place
    told = read_told(home)
    version = told.raysweep if told.raysweep != __version__ else ""
    recount = Recount()
    with TemporaryDirectory() as scratch:
        made = Storage.open(scratch)
        try:
            _check_compare(home)
            write_report(home, **told.arguments(), into=made, rows_of=recount.rows)
        except DamagedError as error:
            return Verified([*recount.differences, *error.lines], version=version, damaged=True)
        agreement = Agreement()
        n_tables = _compare(home, made, agreement)
    return Verified(
        [*recount.differences, *agreement.differences], recount.n_numbers + agreement.n_numbers, agreement.n_shown,
        n_tables, recount.n_files, version,
    )  # fmt: skip


def _check_compare(home: Storage) -> None:
    """What was fixed before anything ran must be readable, where it is on record."""
    try:
        if home.exists(COMPARE):
            home.read_json(COMPARE)
    except (OSError, ValueError) as error:
        raise DamagedError([f"{COMPARE}: cannot be read ({type(error.__cause__ or error).__name__})"]) from error


def _compare(home: Storage, made: Storage, agreement: Agreement) -> int:
    """Every file of the one with that of the other; the number of tables."""
    for name, keys in (("results.parquet", _RESULTS), ("choices.parquet", _CHOICES)):
        printed = _read(home.read_table, agreement, name) if made.exists(name) else None
        if printed is not None:
            agreement.rows(name, printed, made.read_table(name), keys)
    n_tables = 0
    for folder in ("tables", "figures"):
        names = made.names("report", folder)
        for name in sorted({*names, *home.names("report", folder)}):
            file = f"report/{folder}/{name}"
            if name not in names:
                agreement.differences.append(f"{file}: nothing in this folder gives it")
                continue
            n_tables += name.endswith(".csv")
            printed = _read(home.read_bytes, agreement, "report", folder, name)
            if printed is not None:
                check = {"csv": agreement.csv, "svg": agreement.page}.get(name.rpartition(".")[2], agreement.lines)
                check(file, *_texts(printed, made.read_bytes("report", folder, name)))
    page = _read(home.read_bytes, agreement, "report", "index.html")
    if page is not None:
        agreement.page("report/index.html", *_texts(page, made.read_bytes("report", "index.html")))
    return n_tables


def _texts(*files: bytes) -> list[str]:
    return [file.decode(errors="replace") for file in files]


def _read(how: Callable[..., Any], agreement: Agreement, *parts: str) -> Any:
    """A printed file; None, and a line, where it is missing or damaged."""
    try:
        return how(*parts)
    except FileNotFoundError:
        agreement.differences.append(f"{'/'.join(parts)}: is missing")
    except (OSError, ValueError, pa.ArrowException) as error:
        agreement.differences.append(f"{'/'.join(parts)}: cannot be read ({type(error.__cause__ or error).__name__})")
    return None


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' * (n != 1)}"
