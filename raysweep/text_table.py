"""The one way in which tables of users are read: slide tables, those of labelled sets, and points."""

import codecs
import csv
import io
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysweep.bounds import MOST_CELLS, check_room
from raysweep.errors import RequestError, WorkError

LINE = "#"  # the key of a row's line number
TIMES = 10  # bytes of memory for one of a file, at most
_NAMED = 5  # rows of which one sentence tells
_TOLD = "sep="  # begins a line before the header in which Excel names the separator
_UNSEEN = "\u200b\ufeff"  # marks without width, which come along with what is copied from pages
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class TextTable:
    """header: names of the columns, in order, some perhaps twice or empty. rows: cells by column, and `#` (LINE), the
    number of the line that the row ends in, as text."""

    header: list[str]
    rows: list[dict[str, str]]

    @property
    def double(self) -> list[str]:
        """Columns that are there more than once: of their cells the last is in the rows."""
        return [name for name, n in Counter(self.header).items() if n > 1 and name]


def read_table(path: Path, where: str) -> TextTable:
    """The table of a file. Raises OSError where it cannot be read, RequestError for a pipe, and as `parse_table`."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for
        raise RequestError(f"{where}: cannot be read (it is no file); check the path")
    try:
        check_room(TIMES * found.st_size, where)
    except WorkError as error:
        raise RequestError(str(error)) from error
    return parse_table(path.read_bytes(), where)


def parse_table(data: bytes, where: str) -> TextTable:
    """Comma, semicolon or tab, as spreadsheets write them, in UTF-8 or, with its byte order mark, UTF-16.

    The separator is the one that the header has most of, or Excel's line `sep=;` names. Spaces around cells and lines
    without a cell do not matter. Cells that a short row lacks are empty.
    Raises RequestError, which begins with `where`, for text in another coding, a quote that is not closed, a row with
    more cells than there are columns, and more than 20 million cells.
    """
    try:
        text = data.decode("utf-16" if data.startswith(_UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(f"{where}: is not UTF-8 text; save it as a UTF-8 CSV") from error
    if "\0" in text.partition("\n")[0]:  # UTF-16 without its mark
        raise RequestError(f"{where}: is not UTF-8 text; save it as a UTF-8 CSV")
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text), skipinitialspace=True)
    try:
        filled = (cells for cells in map(_bare, lines) if any(cells))
        header = next((cells for cells in filled if cells[0] != _TOLD), [])
        rows = list(_rows(lines, header, where, unclosed=text.count('"') % 2 == 1))
    except csv.Error as error:
        raise RequestError(f"{where}, line {lines.line_num}: is not CSV ({error}); save the table again") from error
    return TextTable(header, rows)


def _separator(text: str) -> str:
    """Spreadsheets write semicolons where the comma is the decimal sign, and tabs when asked for text."""
    header = text.lstrip().splitlines()[0] if text.strip() else ""
    if header.startswith(_TOLD) and len(header) == len(_TOLD) + 1:
        return header[-1]
    return max(",;\t", key=header.count)


def _bare(cells: list[str]) -> list[str]:
    return [cell.strip().strip(_UNSEEN).strip() for cell in cells]


def _rows(lines: Any, header: list[str], where: str, *, unclosed: bool) -> Iterator[dict[str, str]]:
    names = [name for name in header if name]
    wide = []
    for number, cells in enumerate(lines):
        cells = _bare(cells)
        if not any(cells):
            continue
        if number * len(header) > MOST_CELLS:  # a few kB can name so many columns that each short line becomes long
            raise RequestError(f"{where}: has more than {MOST_CELLS:,} cells; leave out columns that nothing reads")
        if unclosed and any("\n" in cell for cell in cells):
            raise RequestError(f"{where}, line {lines.line_num}: a quote is not closed before; close or remove it")
        if any(cells[len(header) :]):
            wide.append((lines.line_num, len(cells)))
        named = {name: cell for name, cell in zip(header, cells, strict=False) if name}
        yield {**dict.fromkeys(names, ""), **named, LINE: str(lines.line_num)}
    if wide:
        told = ", ".join(f"line {line}: has {n} cells for {len(header)} columns" for line, n in wide[:_NAMED])
        more = f"; and {len(wide) - _NAMED} more" if len(wide) > _NAMED else ""
        raise RequestError(f"{where}, {told}; quote a cell that holds a comma{more}")
