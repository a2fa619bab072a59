"""Globs over paths that were listed, so that they see what was listed and nothing else."""

import fnmatch
import re
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from raysweep.tasks.disk import nfc

_ANY_DEPTH = "**"


def glob_matcher(glob: str) -> Callable[[str], bool]:
    """Tells whether a relative POSIX path matches: `*`, `?` and `[...]` within a name, `**` for any folders.

    The suffix matches in capital and small letters, so that `*.png` finds `x.PNG`; everything matches in every form of
    Unicode.
    """
    *folders, last = PurePosixPath(nfc(glob)).parts
    if last == _ANY_DEPTH:  # every file there
        folders, last = [*folders, last], "*"
    patterns = [None if part == _ANY_DEPTH else re.compile(_translated(part)) for part in folders]
    patterns.append(re.compile(_last(last)))
    return lambda path: _matches(PurePosixPath(nfc(path)).parts, patterns)


def literal_folder(glob: str) -> str:
    """The folders that a glob or a template begins with by name: `a/b` of `a/b/*/c*.png` and of `a/b/{class}/*`. Empty
    when there is none."""
    parts = PurePosixPath(glob).parts[:-1]
    end = next((i for i, part in enumerate(parts) if any(mark in part for mark in "*?[{")), len(parts))
    return "/".join(parts[:end])


def _matches(names: Sequence[str], patterns: Sequence[re.Pattern[str] | None]) -> bool:
    if not patterns or not names:
        return not patterns and not names
    first, rest = patterns[0], patterns[1:]
    if first is None:
        return any(_matches(names[skip:], rest) for skip in range(len(names)))
    return bool(first.fullmatch(names[0])) and _matches(names[1:], rest)


def _translated(part: str) -> str:
    """A regular expression for a whole name; without the end that `fnmatch` puts there, which differs by version."""
    return fnmatch.translate(part)[:-2]


def _last(part: str) -> str:
    stem, dot, suffix = part.rpartition(".")
    if not dot or suffix.count("[") != suffix.count("]"):  # a dot within brackets is no suffix
        return _translated(part)
    return f"{_translated(stem)}\\.(?i:{_translated(suffix)})"
