"""Splits that a table of their own names, for each unit or each image."""

from collections import Counter
from dataclasses import replace
from pathlib import Path, PurePosixPath

from raysweep.errors import RequestError, WorkError
from raysweep.tasks.card import Card
from raysweep.tasks.disk import nfc
from raysweep.tasks.names import inside, read_rows, split_name
from raysweep.tasks.sample import Sample
from raysweep.tasks.split_pickle import SUFFIXES, pickled_splits


def with_splits(card: Card, root: Path, samples: list[Sample]) -> list[Sample]:
    """The samples with the sides that the card's table of splits gives them; as they are where it names no table.

    The table is a CSV file below the root, or beside the card, with a column `unit` or `image` (the path below the
    root, or the file's name alone where no row holds a folder) and, for `file`, a column `split`; for `repeated`, one
    column for each division. It may be a pickle of lists of images (`pickled_splits`). An image with an empty cell is
    refused by `file`; in a division it is on no side. Rows of what is not there are passed by.

    Raises RequestError for a missing table or column, an unknown word, a row that is there twice, or a sample without
    a row.
    """
    splits = card.splits
    if splits.file is None or splits.type not in ("file", "repeated"):
        return samples
    where = f"card {card.name}: splits.file"
    columns = list(splits.divisions) if splits.type == "repeated" else ["split"]
    key, rows = _rows(card, _table(card, root, splits.file, where), columns, where)
    sides: dict[str, tuple[str | None, ...]] = {}
    for row in rows:
        name = nfc(row[key])
        if key == "image":
            name = PurePosixPath(name.replace("\\", "/")).as_posix()
        if name in sides:
            raise RequestError(f"{where}: {splits.file}: the {key} {row[key]} is listed twice")
        said = f"{splits.file}: {row[key]}"
        sides[name] = tuple(split_name(card, row[column], splits.splits, said) for column in columns)
    names = [nfc(sample.unit if key == "unit" else sample.image) for sample in samples]
    if key == "image" and not any("/" in name for name in sides):
        names = _alone(names, splits.file, where)
    found = []
    for sample, name in zip(samples, names, strict=True):
        of = sides.get(name)
        if of is None:
            what = f"{card.unit} {sample.unit}" if key == "unit" else sample.image
            raise RequestError(f"{where}: {splits.file} has no row for {what}")
        if splits.type == "file":
            found.append(replace(sample, split=of[0]))
        else:
            found.append(replace(sample, split=None, sides=tuple(side or "" for side in of)))
    return found


def _rows(card: Card, path: Path, columns: list[str], where: str) -> tuple[str, list[dict[str, str]]]:
    """What the rows are about, unit or image, and the rows, with these columns."""
    if path.suffix.lower() not in SUFFIXES:
        rows = read_rows(path, card, columns)
        key = next((name for name in ("image", "unit") if name in rows[0]), None)
        if key is None:
            raise RequestError(f"{where}: {path.name} has no column unit or image, which say what a row is about")
        return key, rows
    try:
        divisions, rows = pickled_splits(path)
    except (OSError, WorkError) as error:
        raise RequestError(f"{where}: {path} cannot be used: {error}") from error
    for column in columns:
        if column not in divisions:
            how = "set splits.type: repeated, and splits.divisions" if columns == ["split"] else "change divisions"
            raise RequestError(f"{where}: {path.name} has no {column}; it has {', '.join(divisions)}: {how}")
    return "image", rows


def _alone(images: list[str], file: str, where: str) -> list[str]:
    """The names of the files, where a table holds no folder. Raises RequestError where two images share one."""
    names = [PurePosixPath(image).name for image in images]
    name, count = Counter(names).most_common(1)[0] if names else ("", 0)
    if count > 1:
        raise RequestError(f"{where}: {file} names no folder, and {count} images are called {name}; write their paths")
    return names


def _table(card: Card, root: Path, file: str, where: str) -> Path:
    name = inside(file, where)
    places = [root, *card.beside]
    for place in places:
        if (place / name).is_file():
            return place / name
    raise RequestError(f"{where}: there is no {name} in {' or '.join(str(place) for place in places)}")
