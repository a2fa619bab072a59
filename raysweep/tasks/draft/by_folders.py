"""A folder for each class, perhaps below one for each split or each patient."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath

from raysweep.tasks.disk import left_by_tools
from raysweep.tasks.draft.found import Found
from raysweep.tasks.draft.listing import Listing, split_word

_DIVISION = re.compile(r"(fold|split|cv|division|run|repeat|part)[ _-]?\d+", re.I)
_SEGMENTATION = re.compile(
    r"(images?|imgs?|pictures?|masks?|labels?|lbls?|annotations?|annots?|gts?|ground[ _-]?truths?|targets?)", re.I
)
_PERSON = re.compile(r"(patient|case|pat|pt|subject|subj|donor|slide|wsi|p|id)[ _-]?\d+|TCGA-\w{2}-\w{4}.*", re.I)
_FEWEST = 3  # folders called as patients are, for them to be such


def by_folders(listing: Listing) -> Found | None:
    """`[split/]class/**/image`, `class/split/**/image` or `patient/class/**/image`; None where no two folders can be
    classes: those of a split, of divisions, of images and masks, or of patients are none.

    What belongs to no class (images at the top, a folder of no split beside those of splits) is named in a warning.
    """
    parts = {path: PurePosixPath(path).parts for path in listing.pictures}
    deep = {path: names for path, names in parts.items() if len(names) > 2}
    tops = sorted({names[0] for names in parts.values() if len(names) > 1})
    below: dict[str, set[str]] = defaultdict(set)
    for names in deep.values():
        below[names[0]].add(names[1])
    splits = {top: side for top in tops if (side := split_word(top))}
    if len(set(splits.values())) > 1 and deep:
        found = _classes_below_splits(deep, splits)
    elif _of_splits(below, tops):
        found = _splits_below_classes(deep)
    elif _are_persons(tops, below):
        found = _classes_below_persons(deep, below)
    else:
        images = [path for path, names in parts.items() if len(names) > 1 and not _is_split(names[0])]
        labels = [parts[path][0] for path in images]
        found = Found("classification", {"type": "image_folder"}, images, labels=labels)
    if found is None or not _may_be_classes(set(found.labels or [])):
        return None
    if found.layout["type"] == "image_folder":
        _name_folders(found, listing, parts)
    if left := len(listing.pictures) - len(found.images):
        found.warnings.append(f"{left} images stand in no folder of a class and are passed by")
    return found


def _may_be_classes(names: set[str]) -> bool:
    if len(names) < 2 or any(_DIVISION.fullmatch(name.strip()) or _is_split(name) for name in names):
        return False
    persons = [name for name in names if _PERSON.fullmatch(name.strip())]
    pairs = all(_SEGMENTATION.fullmatch(name.strip()) for name in names)
    return not pairs and (len(persons) < len(names) or len(names) < _FEWEST)


def _is_split(name: str) -> bool:
    return len(name.strip()) > 2 and split_word(name) is not None  # `TR` may as well be a class


def _classes_below_splits(deep: dict[str, tuple[str, ...]], splits: dict[str, str]) -> Found:
    images = [path for path, names in deep.items() if names[0] in splits]
    layout = {"type": "image_folder", "splits": splits}
    found = Found("classification", layout, images, labels=[deep[path][1] for path in images])
    found.sides, found.split_values = [splits[deep[path][0]] for path in images], splits
    return found


def _of_splits(below: dict[str, set[str]], tops: list[str]) -> bool:
    """Whether folders of classes hold those of splits."""
    names = {name for inner in below.values() for name in inner}
    sides = {split_word(name) for name in names}
    return {"train", "test"} <= sides and None not in sides and len(below) == len(tops) > 1


def _splits_below_classes(deep: dict[str, tuple[str, ...]]) -> Found:
    images = list(deep)
    words = sorted({names[1] for names in deep.values()})
    splits = {word: str(split_word(word)) for word in words}
    layout = {"type": "nested_folders", "path": "{class}/{split}/**", "splits": splits}
    found = Found("classification", layout, images, labels=[deep[path][0] for path in images])
    found.sides, found.split_values = [splits[deep[path][1]] for path in images], splits
    return found


def _are_persons(tops: list[str], below: dict[str, set[str]]) -> bool:
    """Whether folders are those of patients: called so, or numbered, with the same few folders in many of them."""
    called = len(tops) >= _FEWEST and all(_PERSON.fullmatch(top) for top in tops)
    numbered = all(top.isdigit() for top in tops)
    inner = {name for names in below.values() for name in names}
    shared = [name for name in inner if sum(name in names for names in below.values()) > 1]
    return bool(inner) and (called or (numbered and len(inner) <= len(tops) / 2 and len(shared) == len(inner)))


def _classes_below_persons(deep: dict[str, tuple[str, ...]], below: dict[str, set[str]]) -> Found:
    images = list(deep)
    layout = {"type": "nested_folders", "path": "{unit}/{class}/**"}
    found = Found("classification", layout, images, labels=[deep[path][1] for path in images])
    found.units, found.unit = [deep[path][0] for path in images], "patient"
    found.warnings.append(
        f"unit: the {len(below)} folders at the top ({', '.join(sorted(below)[:3])}, ...) are taken as patients, and "
        "those in them as classes; if they are something else, correct layout.path"
    )
    return found


def _name_folders(found: Found, listing: Listing, parts: dict[str, tuple[str, ...]]) -> None:
    """Say in the layout which folders are called otherwise than their class, and which are of none."""
    level = 1 if "splits" in found.layout else 0
    found.images = [path for path in found.images if parts[path][level][0] != "_"]  # the layout passes these by
    labels = [parts[path][level] for path in found.images]
    found.labels = [label.strip() for label in labels]
    if found.sides is not None:
        found.sides = [found.split_values[parts[path][0]] for path in found.images]
    there = set(_folders(listing, found.layout.get("splits", {}) if level else [""]))
    empty = sorted(there - set(labels))
    folders = {label: label.strip() for label in sorted(set(labels)) if label != label.strip()}
    if empty:
        found.warnings.append(f"folders that hold no image of a class are left out: {', '.join(empty)}")
    if folders or empty:
        found.layout["folders"] = {**folders, **dict.fromkeys(empty)}


def _folders(listing: Listing, tops: Iterable[str]) -> list[str]:
    """Names of the folders in those at the top that the layout looks into."""
    found = []
    for top in tops:
        with os.scandir(listing.root / top) as entries:
            found += [e.name for e in entries if e.is_dir() and not left_by_tools(e.name) and e.name[0] != "_"]
    return found
