"""A table with a row for each image: which column names the image, and what the others say of it."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from raysweep.errors import RequestError
from raysweep.tasks.disk import nfc
from raysweep.tasks.draft.by_masks import MASKS, by_masks
from raysweep.tasks.draft.found import Found
from raysweep.tasks.draft.listing import Listing, split_word

_FEWEST = 0.5  # of a table's rows must name an image, else it is about something else
_MOST_CLASSES = 50
_UNITS = (("patient", r"patient|case|subject|donor|participant|individual"), ("slide", r"slide|wsi|barcode"))
_LABELS = r"label|class|target|diagnos|grade|category|^type$|tissue|^y$|subtype|outcome"
_SPLITS = r"split|subset|partition|^set$"


@dataclass(frozen=True)
class Table:
    """A table whose rows name images. `named` has the image of each row, None where there is no such image.

    `form` is what the column holds of an image's path: image, name or stem; `template` the path as made from it.
    `elsewhere` are folders that hold images of these names, where there are several and nothing says which is meant.
    """

    file: str
    rows: list[dict[str, str]]
    column: str
    form: str
    template: str
    named: list[str | None]
    unit: tuple[str, str] | None  # (patient | slide, column)
    split: str | None
    labels: list[str]  # columns that may name the class, the likeliest first
    elsewhere: list[str]

    def of_image(self) -> dict[str, dict[str, str]]:
        """The row of each image."""
        return {image: row for image, row in zip(self.named, self.rows, strict=True) if image is not None}


def find_table(listing: Listing, images: Sequence[str], unit: str | None = None) -> Table | None:
    """The table that says most of these images; None where no table names them. `unit`: the column of the unit."""
    tables = [found for file in listing.tables if (found := _table(listing, file, images, unit))]
    return max(tables, key=lambda t: (_said(t), t.file), default=None)


def by_table(listing: Listing, label: str | None, unit: str | None = None) -> Found | None:
    """A classification by a column of a table; None where no table of images has one.

    Raises RequestError where several columns may be meant, or there is no column `label`.
    """
    table = find_table(listing, listing.pictures, unit)
    if table is None or (label is None and not table.labels):
        return None
    if table.elsewhere:
        raise RequestError(
            f"{listing.root / table.file}: its column {table.column} has names of images that are in several folders "
            f"({', '.join(table.elsewhere)}); write their paths into it"
        )
    if label is None and len(table.labels) > 1 and not re.search(_LABELS, table.labels[0], re.IGNORECASE):
        raise RequestError(
            f"{listing.root / table.file}: several columns may name the class: {', '.join(table.labels)}; say which "
            "one as --label COLUMN"
        )
    label = label or table.labels[0]
    if label not in table.rows[0]:
        raise RequestError(
            f"--label {label}: {listing.root / table.file} has no such column; it has {', '.join(table.rows[0])}"
        )
    rows = {image: row for image, row in table.of_image().items() if row[label]}
    layout: dict = {"type": "csv", "file": table.file, "image": table.template, "label": label}
    found = Found("classification", layout, list(rows), labels=[row[label] for row in rows.values()])
    found.listed = sum(bool(row[label]) for row in table.rows)
    empty = sum(not row[label] for row in table.rows)
    if empty:
        layout["labels"] = {"": None}
        found.warnings.append(f"{empty} rows have no {label} and are left out")
    if lacking := sum(image is None for image in table.named):
        found.warnings.append(f"{lacking} rows of {table.file} name no image that is there")
    pairs = by_masks(listing)
    masks = set(pairs.masks or []) if pairs else set()
    if left := len(set(listing.pictures) - masks - set(table.of_image())):
        found.warnings.append(f"{left} images are not in {table.file} and are passed by")
    if others := [column for column in table.labels if column != label]:
        found.warnings.append(f"other columns that may be a task of their own (--label): {', '.join(others)}")
    add_columns(found, table, rows)
    return found


def add_columns(found: Found, table: Table, rows: dict[str, dict[str, str]], layout: dict | None = None) -> None:
    """Write the table's units and splits into a layout, and into what is known of each image."""
    layout = found.layout if layout is None else layout
    if table.unit:
        found.unit, layout["unit"] = table.unit
        found.units = [rows[image][table.unit[1]] for image in found.images]
    if table.split:
        values = sorted({row[table.split] for row in rows.values()})
        found.split_values = {value: side for value in values if (side := split_word(value))}
        found.sides = [found.split_values[rows[image][table.split]] for image in found.images]
        layout["split"] = table.split
        if mapped := {value: side for value, side in found.split_values.items() if value != side}:
            layout["splits"] = mapped


def _table(listing: Listing, file: str, images: Sequence[str], unit: str | None) -> Table | None:
    rows = listing.rows(file)
    if not rows:
        return None
    fits: list[tuple[int, bool, str, _Reading]] = []  # images named, from a folder that the table is about, the column
    home = PurePosixPath(file).parent.as_posix()
    for column in rows[0]:
        values = [row.get(column, "") for row in rows]
        if len(set(values)) < len(values):
            continue  # an image is listed once
        for reading in _readings(column, values, images):
            count = sum(image is not None for image in reading.named)
            if count >= _FEWEST * len(rows):
                fits.append((count, reading.folder in (None, home), column, reading))
    if not fits:
        return None
    count, own, column, best = max(fits, key=lambda fit: fit[:2])
    homes = {str(r.folder) for n, _, _, r in fits if n == count and not own and not MASKS.search(str(r.folder))}
    if len(homes) == 1:  # the others hold masks
        column, best = next((c, r) for n, _, c, r in fits if n == count and str(r.folder) in homes)
    elsewhere = sorted(homes) if len(homes) > 1 else []
    return Table(file, rows, column, best.form, best.template, best.named, *_roles(rows, column, unit), elsewhere)


@dataclass(frozen=True)
class _Reading:
    """A way in which a column may name images: `folder` is where, None for whole paths."""

    folder: str | None
    form: str
    template: str
    named: list[str | None]


def _readings(column: str, values: list[str], images: Sequence[str]) -> list[_Reading]:
    """The ways in which a column may name the images: by path, or by name or stem in each of the folders."""
    known = {nfc(image): image for image in images}
    paths = [known.get(value.replace("\\", "/").removeprefix("./")) for value in values]
    found = [_Reading(None, "image", f"{{{column}}}", paths)]
    homes: dict[tuple[str, str], dict[str, str]] = {}  # folder, suffix (empty: the name has it) -> name -> image
    for image in images:
        path = PurePosixPath(image)
        homes.setdefault((path.parent.as_posix(), ""), {})[nfc(path.name)] = image
        homes.setdefault((path.parent.as_posix(), path.suffix), {})[nfc(path.stem)] = image
    wanted = set(values)
    for (folder, suffix), names in homes.items():
        if wanted & names.keys():
            prefix = "" if folder == "." else f"{folder}/"
            named = [names.get(value) for value in values]
            found.append(_Reading(folder, "stem" if suffix else "name", f"{prefix}{{{column}}}{suffix}", named))
    return found


def _roles(
    rows: list[dict[str, str]], image: str, unit: str | None
) -> tuple[tuple[str, str] | None, str | None, list[str]]:
    """The columns of unit and split, and those that may name a class."""
    columns = [column for column in rows[0] if column != image]
    values = {column: [row.get(column, "") for row in rows] for column in columns}
    whole = [column for column in columns if all(values[column])]
    units = [
        (word, column)
        for word, pattern in _UNITS
        for column in whole
        if (re.search(pattern, column, re.IGNORECASE) if unit is None else column == unit)
        and len(set(values[column])) > 1
    ]
    split = next(
        (
            column
            for column in whole
            if re.search(_SPLITS, column, re.IGNORECASE) and all(split_word(value) for value in values[column])
        ),
        None,
    )
    taken = {split, *(column for _, column in units)}
    labels = [column for column in columns if column not in taken and _is_label(values[column])]
    labels.sort(key=lambda column: not re.search(_LABELS, column, re.IGNORECASE))
    return (units[0] if units else None), split, labels


def _is_label(values: list[str]) -> bool:
    """Whether a column's values are a few words or small whole numbers, each there more than once."""
    counts = Counter(value for value in values if value)
    if not 2 <= len(counts) <= min(_MOST_CLASSES, len(values) / 4):
        return False
    numbers = [value for value in counts if re.fullmatch(r"-?\d+(\.\d+)?", value)]
    small = all(re.fullmatch(r"\d", value) for value in numbers)
    return min(counts.values()) > 1 and (small or not numbers)


def _said(table: Table) -> int:
    """How much a table says: images first, then what it knows of them."""
    named = sum(image is not None for image in table.named)
    return 10 * named + 3 * bool(table.unit) + 2 * bool(table.split) + bool(table.labels)
