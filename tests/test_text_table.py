"""Tables as people's programs write them."""

import csv
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysweep import text_table
from raysweep.errors import RequestError
from raysweep.text_table import LINE, parse_table, read_table

_PLAIN = "name,label\n1.png,a\n2.png,b\n"
_ROWS = [{"name": "1.png", "label": "a"}, {"name": "2.png", "label": "b"}]


def _read(data: bytes | str) -> list[dict[str, str]]:
    table = parse_table(data if isinstance(data, bytes) else data.encode(), "t.csv")
    return [{key: value for key, value in row.items() if key != LINE} for row in table.rows]


@pytest.mark.parametrize(
    "data",
    [
        _PLAIN.encode(),
        _PLAIN.encode("utf-8-sig"),
        _PLAIN.encode("utf-16"),
        _PLAIN.encode("utf-16-be").join([b"\xfe\xff", b""]),
        _PLAIN.replace(",", ";").encode(),
        _PLAIN.replace(",", "\t").encode(),
        _PLAIN.replace("\n", "\r\n").encode(),
        _PLAIN.replace("\n", "\r").encode(),
        _PLAIN.replace(",", " , ").encode(),
        _PLAIN.replace("\n", "\n\n").encode(),
        (_PLAIN + ",\n , \n\n").encode(),
        _PLAIN.replace("\n", ",,\n").encode(),
        _PLAIN.replace("1.png", '"1.png"').encode(),
        ("\n,\n" + _PLAIN).encode(),
        ("sep=;\n" + _PLAIN.replace(",", ";")).encode(),
        _PLAIN.replace("a", "\u200ba\ufeff")
        .replace("n\u200ba\ufeffme", "name")
        .replace("l\u200ba\ufeff", "la")
        .encode(),
    ],
)
def test_what_programs_make_of_a_table_is_the_same_table(data: bytes) -> None:
    assert _read(data) == _ROWS


def test_the_separator_is_what_the_header_has_most_of() -> None:
    assert _read("name;label, final;mpp\na;b;0,5\n") == [{"name": "a", "label, final": "b", "mpp": "0,5"}]


def test_short_rows_end_in_empty_cells_and_lines_are_counted() -> None:
    table = parse_table(b"a,b,b\n\n1\n\n2,3,4\n", "t.csv")
    assert table.rows == [{"a": "1", "b": "", LINE: "3"}, {"a": "2", "b": "4", LINE: "5"}]
    assert table.double == ["b"]
    assert parse_table(b"", "t.csv").header == []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("name,ort\n1,M\xfcnchen\n".encode("latin-1"), r"^t\.csv: is not UTF-8 text; save it as a UTF-8 CSV"),
        ("name,label\n1,a\n".encode("utf-16-le"), r"^t\.csv: is not UTF-8 text; save it as a UTF-8 CSV"),
        (b"name,label\n1,a,b\n", r"^t\.csv, line 2: has 3 cells for 2 columns; quote a cell that holds a comma"),
        (b'name,label\n1,"a\n2,b\n', r"^t\.csv, line 3: a quote is not closed before"),
        (b"name\n" + b"x" * 2**18 + b"\n", r"^t\.csv, line 2: is not CSV \(field larger than field limit"),
    ],
)
def test_what_is_no_table_is_one_sentence(data: bytes, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        parse_table(data, "t.csv")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(RequestError, match="cannot be read"):
        read_table(tmp_path / "pipe.csv", "table")


def test_a_table_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "t.csv"
    table.write_bytes(b"a" + b"," * 99 + b"\n" + b"1\n" * 10)
    assert len(read_table(table, "t.csv").rows) == 10
    monkeypatch.setattr(text_table, "MOST_CELLS", 899)
    with pytest.raises(RequestError, match=r"^t\.csv: has more than 899 cells; leave out columns that nothing reads"):
        read_table(table, "t.csv")
    with open(table, "wb") as file:
        file.truncate(2**42)
    with pytest.raises(RequestError, match=r"^t\.csv: to read it takes about [\d.]+ GiB of memory, more than half"):
        read_table(table, "t.csv")


_cell = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8).map(str.strip)


@given(st.lists(st.tuples(_cell, _cell), min_size=1, max_size=5), st.sampled_from(",;\t"))
def test_what_the_csv_module_writes_comes_back(rows: list[tuple[str, str]], mark: str) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=mark, quoting=csv.QUOTE_ALL)
    writer.writerows([("first", "second"), *rows])
    expected = [{"first": a, "second": b} for a, b in rows if a or b]
    assert _read(out.getvalue()) == expected
