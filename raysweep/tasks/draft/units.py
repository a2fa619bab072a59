"""Which images may be of one patient or slide, as their names tell it: a guess, to be looked at by a person."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_FEWEST_UNITS = 8  # with fewer no verdict is possible: more likely the words are a class or a split
_FEWEST_IMAGES = 1.5  # of a unit, on average: else every image has a name of its own
_PATTERNS = (  # (unit, regular expression on an image's path, what people call it)
    ("patient", r"(TCGA-[A-Z0-9]{2}-[A-Z0-9]{4})", "TCGA's barcode"),
    ("patient", r"(?i)(?:^|[/_-])((?:patient|case|pat|pt|subject|subj)[_-]?[a-z]?\d+)", "the number of a case"),
    ("slide", r"([^/]+?)(?:[_-][xy]?\d+)+\.\w+$", "the name without the numbers at its end"),
    ("slide", r"([^/]+)[_-][^/_-]+\.\w+$", "the name without its last part"),
)


@dataclass(frozen=True)
class UnitGuess:
    """A regular expression whose group 1 is the unit, what that gives for each image, and how to speak of it."""

    unit: str
    pattern: str
    units: list[str]
    words: str


def guess_unit(images: Sequence[str], labels: Sequence[str] | None, below_class: int | None = None) -> UnitGuess | None:
    """What groups the images and is more than their classes; None where nothing does.

    images: paths below the root. labels: class of each, where it has one. below_class: folders above the one that
    may be a unit (`class/unit/image` has 1).
    """
    patterns: list[tuple[str, str, str]] = list(_PATTERNS)
    if below_class is not None:
        above = "[^/]+/" * below_class
        patterns.insert(0, ("patient", rf"^{above}([^/]+)/", "the folder below that of the class"))
    for unit, pattern, words in patterns:
        units = _applied(pattern, images)
        if units is not None and _sensible(units, labels):
            return UnitGuess(unit, pattern, units, words)
    return None


def _applied(pattern: str, images: Sequence[str]) -> list[str] | None:
    find: Callable = re.compile(pattern).search
    matches = [find(image) for image in images]
    return [match.group(1) for match in matches] if all(m and m.group(1) for m in matches) else None


def _sensible(units: Sequence[str], labels: Sequence[str] | None) -> bool:
    counts = Counter(units)
    if len(counts) < _FEWEST_UNITS or len(units) < _FEWEST_IMAGES * len(counts):
        return False
    return labels is None or fewest_units(units, labels) > 1


def fewest_units(units: Sequence[str], labels: Sequence[str]) -> int:
    """Units of the class that has fewest."""
    return min(Counter(label for _, label in set(zip(units, labels, strict=True))).values())
