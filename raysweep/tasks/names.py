"""Classes, splits, units and paths as layouts read them from names and tables."""

import difflib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TypeVar

from raysweep.errors import RequestError
from raysweep.tasks.card import Card
from raysweep.tasks.disk import nfc, top_of
from raysweep.tasks.sample import LeftOut, Sample
from raysweep.text_table import read_table

T = TypeVar("T")
_NOBODY = frozenset({"nan", "na", "n/a", "#n/a", "<na>", "none", "null", "nat"})  # by pandas, R and spreadsheets
SPLITS = ("train", "val", "test")
_OTHER_VALUES = ("yes", "no", "on", "off", "y", "n")  # other readers of YAML take these for true and false


def class_index(card: Card, name: str, where: str, key: str, words: Iterable[str] = ()) -> int:
    """The index of a class. Raises RequestError saying where the name stands and which key can map it.

    `words` are those that the key maps already: what stands for the classes on disk.
    """
    classes = [nfc(c) for c in card.classes]
    if nfc(name) in classes:
        return classes.index(nfc(name))
    expected = [word for word in words if word] or card.classes
    small = {nfc(word).casefold(): word for word in expected}
    near = difflib.get_close_matches(nfc(name).casefold(), small, n=1)
    hint = f" (nearest: {small[near[0]]})" if near else ""
    known = ", ".join(card.classes)
    if expected is not card.classes:
        known += f", which are called {', '.join(expected)}"
    odd = [c for c in card.classes if c.lower() in _OTHER_VALUES]
    quotes = f"; {odd[0]} is taken as the word, as if it stood in quotes" if odd else ""
    raise RequestError(
        f"card {card.name}: {where}: {name!r} is none of the classes {known}{hint}; map it in {key}{quotes}"
    )


def split_name(card: Card, value: str, splits: Mapping[str, str], where: str) -> str | None:
    """`train`, `val` or `test`; None for an empty value. `splits` maps the file's own words."""
    value = by_nfc(splits).get(nfc(value), value)
    if not value:
        return None
    if value not in SPLITS:
        raise RequestError(
            f"card {card.name}: {where}: split {value!r} is none of {', '.join(SPLITS)}; map it in layout.splits"
        )
    return value


def by_nfc(values: Mapping[str, T]) -> dict[str, T]:
    """A card's mapping with keys in Unicode's form NFC, in which they are looked up."""
    return {nfc(key): value for key, value in values.items()}


def unit_pattern(value: str | None) -> str | None:
    """A field validator: a regular expression with one group."""
    if value is not None:
        try:
            groups = re.compile(value).groups
        except re.error as error:
            raise ValueError(f"not a regular expression ({error})") from error
        if groups != 1:
            raise ValueError("needs exactly one group, which names the unit")
    return value


def unit_from(pattern: str | None, image: str, card: Card) -> str:
    """The unit that an image's path names; the image itself when the card's unit is the image.

    Raises RequestError when the path does not match, or nothing says what the units are.
    """
    if pattern is not None:
        return part_of(pattern, image, card, "unit")
    if card.unit != "image":
        raise RequestError(
            f"card {card.name}: layout: says nothing of the {card.unit} of an image; name it, or set unit: image"
        )
    return image


def check_unit(unit: str, column: str, where: str, card: Card) -> None:
    """Raise RequestError for a unit that a table does not name: an empty cell, or a word that programs write into one.

    All such images would be taken as of one patient.
    """
    if not unit or unit.casefold() in _NOBODY:
        said = f"holds {unit!r}" if unit else "is empty"
        raise RequestError(
            f"card {card.name}: {where}: the column {column!r} {said}; every image has a {card.unit}: write who it is, "
            "or a name of its own"
        )


def part_of(pattern: str, image: str, card: Card, key: str) -> str:
    """What group 1 of a regular expression finds in an image's path. Raises RequestError naming the key without it."""
    match = _compiled(pattern).search(nfc(image))
    if not match or not match.group(1):
        raise RequestError(f"card {card.name}: layout.{key}: {pattern} finds no {key} in {image}")
    return match.group(1)


@cache  # there are hundreds of thousands of paths
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(nfc(pattern))


def check_splits(card: Card, splits: Mapping[str, str], found: Iterable[Sample | LeftOut]) -> None:
    """Raise RequestError for a word that the card gives a split of its own, of which there is no image."""
    sides = {one.split for one in found if isinstance(one, Sample)}
    for word, split in splits.items():
        if split not in sides:
            raise RequestError(f"card {card.name}: layout.splits: {word} has no image, so {split} is empty")


def inside(path: str, where: str) -> str:
    """A relative POSIX path that stays below its root. Raises RequestError for one that leaves it.

    Symbolic links below the root are the owner's own and are followed.
    """
    parts = PurePosixPath(path.replace("\\", "/")).parts
    if not parts or parts[0] == "/" or ".." in parts:
        raise RequestError(f"{where}: the path {path!r} must stay below the task's root")
    return PurePosixPath(*parts).as_posix()


def read_rows(path: Path, card: Card, columns: list[str]) -> list[dict[str, str]]:
    """Rows of a table, in Unicode's form NFC, with `#` as `read_table` has it; `columns` are named as in the card.

    Raises RequestError as it does, and for a missing file, row or column, or a column that is there twice.
    """
    try:
        found = read_table(path, f"card {card.name}: {path}")
    except FileNotFoundError as error:
        raise RequestError(f"card {card.name}: there is no {path}; {top_of(path.parent)}") from error
    except OSError as error:
        raise RequestError(f"card {card.name}: {path} cannot be read ({error})") from error
    asked = {nfc(column): column for column in columns}
    called = {name: asked.get(nfc(name), nfc(name)) for name in found.header}
    names = [called[name] for name in found.header]
    for column in columns:
        if names.count(column) > 1:
            raise RequestError(f"card {card.name}: {path} has two columns {column!r}; keep one")
        if column not in names:
            near = difflib.get_close_matches(column, names, n=1)
            hint, there = f" (nearest: {near[0]})" if near else "", ", ".join(map(repr, names)) or "none"
            raise RequestError(f"card {card.name}: {path} has no column {column!r}{hint}; it has {there}")
    if not found.rows:
        raise RequestError(f"card {card.name}: {path} has no rows")
    return [{called.get(k, k): nfc(v) for k, v in row.items()} for row in found.rows]
