"""A first card for a folder of labelled images: what can be seen of it, and what a person must look at."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raysweep.errors import RequestError
from raysweep.tasks.card import Card
from raysweep.tasks.draft.by_folders import by_folders
from raysweep.tasks.draft.by_masks import by_masks
from raysweep.tasks.draft.by_table import Table, add_columns, by_table, find_table
from raysweep.tasks.draft.found import Found
from raysweep.tasks.draft.listing import Listing
from raysweep.tasks.draft.mask_values import guess_masks
from raysweep.tasks.draft.units import fewest_units, guess_unit
from raysweep.tasks.find import find_samples
from raysweep.tasks.names import unit_pattern
from raysweep.tasks.parse import parse
from raysweep.yaml_file import parse_yaml, written_line

_PX = 224  # what most published weights were trained at
_LIGHT_PX = 128
_ONE_WINDOW = 1.35  # times that: images up to here are seen whole
_FOLDS, _FOLDED = 4, 5000  # units are tested in turn up to so many images; of larger sets a part is held out
_KINDS = """no labels are found. What is looked for: a folder for each class (perhaps below train/ and test/); images \
and masks in folders side by side (images/, masks/) or under two names (a.png, a_mask.png); a CSV table with a row for \
each image"""


@dataclass(frozen=True)
class Draft:
    """A card as YAML with comments, the same as a model, and what a person must look at before trusting it."""

    card: Card
    text: str
    facts: list[str]
    warnings: list[str]


def draft_card(
    folder: Path, *, name: str | None = None, label: str | None = None, unit: str | None = None,
    mpp: float | None = None, light: bool = False,
) -> Draft:  # fmt: skip
    """Look at a folder and describe it; its parent is the study's `data`. Only headers and some masks are read.

    label, unit: columns of its table (unit: or a regular expression on an image's path, whose group 1 is the unit).
    mpp: um per pixel of the files. light: masks in two folds and small windows, which processors can train on in
    minutes; where the scale is known, large images at half of it. Raises RequestError for a folder in which
    no labels are found.
    """
    folder = folder.resolve()
    listing = Listing.of(folder)
    found = _find(listing, label, unit)
    classes = _classes(found, listing)
    light = light and found.kind == "segmentation"
    splits = _divide(found, 2 if light else _FOLDS)
    sizes = listing.sizes(found.images)
    px = min(_px(sizes), _LIGHT_PX if light else _PX * 2)
    halved = light and mpp is not None and np.median(sizes.min(1)) > 3 * px
    values: dict[str, Any] = {
        "name": name or _name(folder.name),
        "kind": found.kind,
        "classes": classes,
        "title": folder.name,
        "source": "not said yet",
        "licence": {"name": "not said yet"},
        "root": folder.name,
        "layout": found.layout,
        "unit": found.unit,
        "splits": splits,
        **({"mpp": mpp} if mpp else {}),
        **({"at_mpp": round(2 * mpp, 4)} if mpp and halved else {}),
        "px": px,
        "metrics": ["balanced_accuracy" if found.kind == "classification" else "dice"],
        "n_images": found.listed or len(found.images),
    }
    text = _text(values, found, listing)
    card = parse(Card, parse_yaml(text, str(folder)), str(folder))
    find_samples(card, folder)  # what it says is what is there
    return Draft(card, text, _facts(found, listing), found.warnings)


def _find(listing: Listing, label: str | None, unit: str | None) -> Found:
    found = by_table(listing, label, unit) if label else by_masks(listing) or by_folders(listing)
    found = found or by_table(listing, None, unit)
    if found is None:
        others = ", ".join(f"{suffix} {count}" for suffix, count in list(listing.others.items())[:5])
        seen = f"{len(listing.pictures)} images in {len(listing.by_folder)} folders" + (f"; {others}" if others else "")
        more = f"; no table names the images, so --label {label} finds nothing" if label else ""
        raise RequestError(f"{listing.root}: {_KINDS} (found: {seen}{more})")
    pattern = unit if unit and "(" in unit else None
    if pattern:
        try:
            unit_pattern(pattern)
        except ValueError as error:
            raise RequestError(f"--unit {pattern}: {error}") from error
        found.layout["unit"], found.unit = pattern, "patient"
        matches = [re.search(pattern, image) for image in found.images]
        found.units = [match.group(1) if match else "" for match in matches]
        return found
    table = find_table(listing, found.images, unit) if found.layout["type"] != "csv" else None
    if table is not None and found.layout["type"] == "image_mask_pairs":
        if not table.elsewhere:
            _join(found, table)
    elif table is not None and found.kind == "classification" and table.labels:
        found.warnings.append(
            f"{table.file} names the images as well, and is not used: --label {' or '.join(table.labels)} takes it"
        )
    if unit and found.units is None:
        raise RequestError(f"--unit {unit}: neither a column of a table of the images nor a pattern with a group in ()")
    if found.units is None:
        _guess(found)
    return found


def _join(found: Found, table: Table) -> None:
    """Add a table's units and splits to pairs, where it has any and knows every image."""
    rows = table.of_image()
    if table.labels:
        found.warnings.append(
            f"{table.file} has columns that may be a classification: --label {' or '.join(table.labels)}"
        )
    if not (table.unit or table.split) or set(found.images) - set(rows):
        return
    layout: dict[str, Any] = {"file": table.file, "column": table.column, "image": f"{{{table.form}}}"}
    add_columns(found, table, rows, layout)
    found.layout["table"] = layout


def _guess(found: Found) -> None:
    depth = {"image_folder": 2 if found.sides else 1}.get(found.layout["type"])
    guess = guess_unit(found.images, found.labels, depth) if found.layout["type"] != "csv" else None
    if guess:
        found.unit, found.units, found.layout["unit"] = guess.unit, guess.units, guess.pattern
        n = len(set(guess.units))
        found.warnings.append(
            f"unit: {n} {guess.unit}s are GUESSED from the names ({guess.words}: {guess.units[0]} of "
            f"{found.images[0]}); if that is not who the images are of, correct layout.unit"
        )
        return
    found.unit, found.units = "image", list(found.images)
    found.warnings.append(
        "unit: nothing says which images are of one patient, so each counts as independent: if some are of one "
        "patient, intervals are too narrow and scores too good; say it in layout.unit (--unit COLUMN or PATTERN)"
    )


def _classes(found: Found, listing: Listing) -> list[str]:
    if found.masks is None:
        classes = sorted(set(found.labels or []))
        plain: dict[str, list[str]] = {}
        for name in classes:
            plain.setdefault(" ".join(name.casefold().replace("_", " ").replace("-", " ").split()), []).append(name)
        if twice := [" and ".join(names) for names in plain.values() if len(names) > 1]:
            key = "labels" if found.layout["type"] == "csv" else "folders"
            found.warnings.append(
                f"classes: {'; '.join(twice)} are classes of their own; if they are one, map them in layout.{key}"
            )
        return classes
    guess = guess_masks(listing.root, found.masks)
    if guess.masks:
        found.layout["masks"] = guess.masks
    found.warnings.append(f"masks: {guess.warning}")
    return guess.classes


def _divide(found: Found, k: int) -> dict[str, Any]:
    """The set's own split where it keeps units apart, else folds or a part held out, by unit."""
    units = found.units or found.images
    if found.sides is not None:
        of: dict[str, set] = {}
        for unit, side in zip(units, found.sides, strict=True):
            of.setdefault(unit, set()).add(side)
        shared = sum(len(sides) > 1 for sides in of.values())
        if not shared and {"train", "test"} <= set(found.sides):
            return {"type": "given"}
        found.warnings.append(
            f"its own split has {shared} of {len(of)} {found.unit}s on several sides, so it is not used"
            if shared
            else "its own split has no train or no test, so it is not used"
        )
    fewest = len(set(units)) if found.labels is None else fewest_units(units, found.labels)
    if len(found.images) > _FOLDED:
        return {"type": "holdout", "test": 0.25}
    if fewest < 2:
        found.warnings.append(
            f"a class is in one {found.unit} alone and cannot be both learnt and tested; leave it out"
        )
    return {"type": "folds", "k": max(2, min(k, fewest))}


def _px(sizes: np.ndarray) -> int:
    """Edge of what networks see: small images whole, large ones in windows of 224 pixels."""
    short, long = np.median(sizes.min(1)), np.median(sizes.max(1))
    if long <= _ONE_WINDOW * _PX:
        return int(max(32, 32 * np.ceil(short / 32)))
    return _PX


def _name(folder: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder).strip("-._")
    return name or "my-images"


def _facts(found: Found, listing: Listing) -> list[str]:
    """What was seen, a line each."""
    sizes = listing.sizes(found.images)
    (width, height), count = Counter(map(tuple, sizes.tolist())).most_common(1)[0]
    same = "all" if count == len(sizes) else f"{count} of {len(sizes)} looked at"
    layout = found.layout["type"]
    facts = [f"{len(found.images)} images, {width} x {height} px ({same}), layout {layout}, {found.kind}"]
    if found.labels is not None:
        facts.append(f"classes: {', '.join(f'{name} {n}' for name, n in sorted(Counter(found.labels).items()))}")
    if found.unit != "image":
        facts.append(f"{len(set(found.units or []))} {found.unit}s")
    return facts


def _text(values: dict[str, Any], found: Found, listing: Listing) -> str:
    comments = {
        "source": "where it comes from and what to cite",
        "licence": "of the images; `restricted: true` asks everybody to accept it",
        "unit": "what is independent: patient, slide, image or site",
        "splits": "folds test every unit once; given is the set's own split",
        "at_mpp": "um per pixel to work at; remove it for that of the files",
        "px": "edge of what networks see; larger images go in windows",
        "metrics": "the first is the task's own",
        "n_images": "another count is refused",
    }
    lines = [f"# A first card of {listing.root.name}, as raysweep saw it. It knows no more than the files say:"]
    lines += [f"#   {warning}" for warning in found.warnings]
    for key, value in values.items():
        comment = comments.get(key)
        line = written_line(key, value)
        lines.append(f"{line}    # {comment}" if comment else line)
        if key == "splits" and "mpp" not in values:
            lines.append(
                "# mpp: 0.5    # um per pixel of the files, where you know it; then at_mpp: 1.0 works at half that"
            )
    return "\n".join(lines) + "\n"
