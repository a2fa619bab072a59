"""What stands in a folder that nobody has described yet: pictures by folder, tables, everything else by type."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
from PIL import Image

from raysweep.errors import RequestError
from raysweep.patches.codec import FORMATS
from raysweep.tasks.disk import files_below, nfc
from raysweep.tasks.files import IMAGE_SUFFIXES
from raysweep.text_table import LINE, read_table

_SAMPLED = 200  # files that are opened to see what they are like
_WORDS = {
    "train": {"train", "training", "tr", "trn"},
    "val": {"val", "valid", "validation", "dev", "tune"},
    "test": {"test", "testing", "ts", "tst", "holdout"},
}
_T = TypeVar("_T")


@dataclass(frozen=True)
class Listing:
    """Files below a folder, as POSIX paths below it, sorted; what tools leave is not among them."""

    root: Path
    pictures: list[str]
    tables: list[str]
    others: dict[str, int]  # by suffix

    @classmethod
    def of(cls, root: Path) -> "Listing":
        """Raises RequestError for a folder that is not there, cannot be listed or holds no picture."""
        if not root.is_dir():
            raise RequestError(f"{root}: there is no such folder; name the one that the images stand in")
        paths = sorted(path for path, _ in files_below(root))
        pictures = [path for path in paths if PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES]
        tables = [path for path in paths if PurePosixPath(path).suffix.lower() == ".csv"]
        others = Counter(PurePosixPath(p).suffix.lower() or "without a suffix" for p in set(paths) - set(pictures))
        if not pictures:
            found = ", ".join(f"{suffix} {count}" for suffix, count in others.most_common(5)) or "nothing"
            raise RequestError(
                f"{root}: holds no image of a type that is read ({', '.join(sorted(IMAGE_SUFFIXES))}); found: {found}"
            )
        return cls(root, pictures, tables, dict(others.most_common()))

    @cached_property
    def by_folder(self) -> dict[str, list[str]]:
        """Folder -> its pictures; `.` is the root."""
        found: dict[str, list[str]] = {}
        for path in self.pictures:
            found.setdefault(PurePosixPath(path).parent.as_posix(), []).append(path)
        return found

    def rows(self, table: str) -> list[dict[str, str]]:
        """Rows of a table, in Unicode's form NFC; none where it is no table of columns."""
        try:
            found = read_table(self.root / table, table)
        except (OSError, RequestError):
            return []
        return [{nfc(k): nfc(v) for k, v in row.items() if k != LINE} for row in found.rows]

    def sizes(self, pictures: Sequence[str]) -> np.ndarray:
        """Width and height of some of the pictures, int64 (n, 2), from their headers; broken ones are passed by."""
        found = []
        for path in sampled(pictures):
            try:
                with Image.open(self.root / path, formats=FORMATS) as picture:
                    found.append(picture.size)
            except Exception:  # whatever a broken file leads Pillow to: `prepare` says what is wrong with it
                continue
        if not found:
            raise RequestError(f"{self.root}: none of the images could be opened (first: {pictures[0]})")
        return np.array(found, dtype=np.int64)


def sampled(items: Sequence[_T]) -> list[_T]:
    """At most 200 of them, evenly spread."""
    step = max(1, -(-len(items) // _SAMPLED))
    return list(items[::step])


def split_word(name: str) -> str | None:
    """train, val or test where a folder or value means that, as `testA`, `test_1` and `Testset` do; else None."""
    plain = name.strip().casefold().strip("_- ")
    plain = re.sub(r"[_ -]?(sets?|data|images?|imgs?|patches|tiles|split)$", "", plain)
    part = re.fullmatch(r"([a-z]{4,}?)[_ -]?[a-z0-9]", plain)  # of several test sets
    meant = {plain, part.group(1) if part else plain}
    return next((split for split, words in _WORDS.items() if meant & words), None)
