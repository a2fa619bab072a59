"""Whether printed files agree with the same files made again: a line for each place where they do not."""

import csv
import io
import math
import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from html.parser import HTMLParser

import pyarrow as pa

from raysweep.report.recount import close, said

_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_NAMING = ("choice", "task", "test set", "protocol", "fraction", "checkpoint", "member", "first", "second", "metric",
           "class", "patch set", "slide", "table", "column")  # fmt: skip
_UNSEEN = {"style", "script"}


class Agreement:
    """Compares file by file. differences: lines that name file, row or line, column, and both values.

    n_numbers: of the tables, that were compared; n_shown: of the page and the figures.
    """

    def __init__(self) -> None:
        self.differences: list[str] = []
        self.n_numbers = 0
        self.n_shown = 0

    def csv(self, file: str, printed: str, made: str) -> None:
        """Tables for machines: numbers agree to rounding, all else to the letter."""
        ours, theirs = (list(csv.reader(io.StringIO(text))) for text in (made, printed))
        header = ours[0]
        if theirs[:1] != ours[:1] or any(len(row) != len(header) for row in theirs):
            return self._add(f"{file}: has other columns than {', '.join(header)}")
        if len(theirs) != len(ours):
            return self._add(f"{file}: {len(theirs) - 1} rows are printed, {len(ours) - 1} recomputed")
        for number, (row, other) in enumerate(zip(ours[1:], theirs[1:], strict=True), 1):
            for name, value, shown in zip(header, row, other, strict=True):
                self.n_numbers += _as_number(value) is not None
                if value != shown and not _same_number(value, shown):
                    key = ", ".join(v for h, v in zip(header, row, strict=True) if h in _NAMING and v)
                    self._add(f"{file}, row {number} ({key}), column {name}: {_both(shown, value)}")

    def rows(self, file: str, printed: pa.Table, made: pa.Table, keys: Sequence[str]) -> None:
        """Parquet tables, whose rows are told apart by `keys`."""
        if printed.schema.names != made.schema.names:
            return self._add(f"{file}: has other columns than {', '.join(made.schema.names)}")
        if printed.num_rows != made.num_rows:
            return self._add(f"{file}: {printed.num_rows} rows are written, {made.num_rows} recomputed")
        for number, (row, other) in enumerate(zip(made.to_pylist(), printed.to_pylist(), strict=True), 1):
            for name, value in row.items():
                self.n_numbers += isinstance(value, int | float) + sum(
                    isinstance(v, float) for v in (value if isinstance(value, list) else [])
                )
                if not close(value, other[name]):
                    key = ", ".join(said(row[k]) for k in keys)
                    self._add(f"{file}, row {number} ({key}), column {name}: {_both(said(other[name]), said(value))}")

    def lines(self, file: str, printed: str, made: str) -> None:
        """Text for people, line by line."""
        self._chunks(file, list(enumerate(printed.splitlines(), 1)), list(enumerate(made.splitlines(), 1)))

    def page(self, file: str, printed: str, made: str) -> None:
        """What a page or figure shows in words and numbers, whatever it is drawn with."""
        ours = _Shown(made).chunks
        self.n_shown += sum(len(_NUMBER.findall(text)) for _, text in ours)
        self._chunks(file, _Shown(printed).chunks, ours)

    def _chunks(self, file: str, printed: list[tuple[int, str]], made: list[tuple[int, str]]) -> None:
        ours, theirs = [text for _, text in made], [text for _, text in printed]
        if ours == theirs:
            return
        for what, a, b, c, d in SequenceMatcher(None, theirs, ours, autojunk=False).get_opcodes():
            if what == "equal":
                continue
            for i in range(max(b - a, d - c)):
                shown = theirs[a + i] if a + i < b else ""
                value = ours[c + i] if c + i < d else ""
                line = printed[min(a + i, len(printed) - 1)][0] if printed else 1
                self._add(f"{file}, line {line}: {_both(shown, value)}")

    def _add(self, line: str) -> None:
        self.differences.append(line)


class _Shown(HTMLParser):
    """Texts of a page or of an SVG, each with its line."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.chunks: list[tuple[int, str]] = []
        self._hidden = 0
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in _UNSEEN

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in _UNSEEN

    def handle_data(self, data: str) -> None:
        text = " ".join(data.split())
        if text and not self._hidden:
            self.chunks.append((self.getpos()[0], text))


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _same_number(a: str, b: str) -> bool:
    """To rounding: another machine may add in another order, and the root of nearly nothing is still small."""
    x, y = _as_number(a), _as_number(b)
    return x is not None and y is not None and math.isclose(x, y, rel_tol=2e-6, abs_tol=1e-7)


def _both(shown: str, value: str) -> str:
    return f"{_short(shown)} is printed, {_short(value)} recomputed"


def _short(text: str) -> str:
    return (text if len(text) <= 120 else f"{text[:117]}...") or "nothing"
