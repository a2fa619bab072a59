"""Splits that a table of their own names, for each unit or each image."""

from dataclasses import replace
from pathlib import Path

from raysweep.errors import RequestError
from raysweep.tasks.card import Card
from raysweep.tasks.disk import nfc
from raysweep.tasks.names import inside, read_rows, split_name
from raysweep.tasks.sample import Sample


def with_splits(card: Card, root: Path, samples: list[Sample]) -> list[Sample]:
    """The samples with the sides that the card's table of splits gives them; as they are where it names no table.

    The table is a CSV file below the root, or beside the card, with a column `unit` or `image` (the path below the
    root) and, for `file`, a column `split`; for `repeated`, one column for each division. An image with an empty cell
    is refused by `file`; in a division it is on no side. Rows of what is not there are passed by.

    Raises RequestError for a missing table or column, an unknown word, a row that is there twice, or a sample without
    a row.
    """
    splits = card.splits
    if splits.file is None or splits.type not in ("file", "repeated"):
        return samples
    where = f"card {card.name}: splits.file"
    columns = list(splits.divisions) if splits.type == "repeated" else ["split"]
    rows = read_rows(_table(card, root, splits.file, where), card, columns)
    key = next((name for name in ("image", "unit") if name in rows[0]), None)
    if key is None:
        raise RequestError(f"{where}: {splits.file} has no column unit or image, which say what a row is about")
    sides: dict[str, tuple[str | None, ...]] = {}
    for row in rows:
        name = nfc(row[key])
        if name in sides:
            raise RequestError(f"{where}: {splits.file}: the {key} {row[key]} is listed twice")
        said = f"{splits.file}: {row[key]}"
        sides[name] = tuple(split_name(card, row[column], splits.splits, said) for column in columns)
    found = []
    for sample in samples:
        of = sides.get(nfc(sample.image if key == "image" else sample.unit))
        if of is None:
            what = sample.image if key == "image" else f"{card.unit} {sample.unit}"
            raise RequestError(f"{where}: {splits.file} has no row for {what}")
        if splits.type == "file":
            found.append(replace(sample, split=of[0]))
        else:
            found.append(replace(sample, split=None, sides=tuple(side or "" for side in of)))
    return found


def _table(card: Card, root: Path, file: str, where: str) -> Path:
    name = inside(file, where)
    places = [root, *card.beside]
    for place in places:
        if (place / name).is_file():
            return place / name
    raise RequestError(f"{where}: there is no {name} in {' or '.join(str(place) for place in places)}")
