"""Which rows of a set's table a task is made of, and which subgroups they are in: by its columns."""

import difflib
from collections.abc import Mapping, Sequence

from raysweep.errors import RequestError
from raysweep.tasks.card import Card
from raysweep.tasks.disk import nfc

Where = dict[str, str | list[str]]
Groups = dict[str, str]
ABOUT_GROUPS = "columns of the table that results are also shown by, such as {site: hospital}; they change no result"
ABOUT_WHERE = "filters on columns of the table, such as {stain: he} or {site: [A, B]}: other images are left out"


def groups_of(row: Mapping[str, str], groups: Groups) -> tuple[tuple[str, str], ...]:
    """The subgroups of a row of a table with these columns, as a sample has them."""
    return tuple((kind, row[column] or "not given") for kind, column in groups.items())


def wanted(rows: Sequence[Mapping[str, str]], where: Where, card: Card, key: str) -> list[bool]:
    """Of each row whether each column that `where` names holds one of its values; `key` says where it stands.

    The rows are as `read_rows` gives them, with these columns. Raises RequestError for a value that no row holds, and
    where no row is left.
    """
    left = [True] * len(rows)
    for column, said in where.items():
        values = [nfc(value.strip()) for value in ([said] if isinstance(said, str) else said)]
        held = {row[column] for row in rows}
        for value in values:
            if value not in held:
                near = difflib.get_close_matches(value, held, n=3) or sorted(held)[:10]
                raise RequestError(
                    f"card {card.name}: {key}: no row has {value!r} in the column {column!r}; "
                    f"there is {', '.join(map(repr, near))}{', ...' if len(held) > len(near) else ''}"
                )
        left = [kept and row[column] in values for kept, row in zip(left, rows, strict=True)]
    if not any(left):
        raise RequestError(f"card {card.name}: {key}: no row has all of these values; leave one of them out")
    return left
