"""Columns of a slide table that are made of its others."""

import re
from collections.abc import Mapping, Sequence

from raysweep.errors import RequestError

Row = dict[str, str]

_FIELD = re.compile(r"\{([^{}]*)\}")


def with_columns(rows: Sequence[Row], columns: Mapping[str, str], where: str) -> list[Row]:
    """The rows with each of `columns` filled in: a text in which `{name}` stands for the row's column of that name.

    Columns are made of those that the table has, not of each other, and take the place of one of their name. A cell
    whose text is made of nothing but empty columns is empty. `where` begins the messages.

    Raises RequestError for a name that is no column of the table.
    """
    known = list(dict.fromkeys(name for row in rows for name in row if name != "#"))
    for column, text in columns.items():
        unknown = next((name for name in _FIELD.findall(text) if name not in known), None)
        if unknown is not None:
            raise RequestError(
                f"{where}: columns.{column}: {{{unknown}}} is no column of it; it has {', '.join(known)}"
            )
    return [{**row, **{column: _filled(text, row) for column, text in columns.items()}} for row in rows]


def _filled(text: str, row: Row) -> str:
    names = _FIELD.findall(text)
    if names and not any(row.get(name) for name in names):
        return ""
    return _FIELD.sub(lambda found: row.get(found[1], ""), text)
