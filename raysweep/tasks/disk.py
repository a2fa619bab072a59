"""Names as they stand on disk: which files are a set's own, and which file a name of a table means."""

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from raysweep.errors import RequestError
from raysweep.leftovers import left_by_tools

_SHOWN = 8  # names in a message


def nfc(text: str) -> str:
    """The one form in which names are compared: macOS writes `ä` as two characters, tables mostly as one."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def files_below(root: Path, below: str = "", *, leftovers: bool = False) -> Iterator[tuple[str, str | None]]:
    """Each file below the folder `below` of `root`: its POSIX path below `root`, and None.

    At any depth, names in order, links followed. What tools leave (`left_by_tools`) is not part of it; with `leftovers`
    it is, and the second item is the name that makes it one. `below` itself may have any name. Raises RequestError for
    a folder that cannot be listed.
    """
    folder = root / below if below else root
    yield from _walk(folder, f"{below}/" if below else "", None, leftovers, frozenset())


def top_of(root: Path) -> str:
    """What stands in a folder, for messages about what does not: a few names, folders first."""
    try:
        with os.scandir(root) as listing:
            entries = sorted((not entry.is_dir(), entry.name) for entry in listing if not left_by_tools(entry.name))
    except OSError as error:
        return f"{root} cannot be listed ({error.strerror or error})"
    if not entries:
        return f"{root} is empty"
    names = [name if is_file else f"{name}/" for is_file, name in entries]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"there is {', '.join(names[:_SHOWN])}{more}"


def files_in(root: Path, folder: str) -> list[str]:
    """The set's own files below a folder, as `files_below`, under the folder's name on this disk; none without it."""
    below = Disk(root).find(folder)
    return [path for path, _ in files_below(root, below)] if (root / below).is_dir() else []


def _walk(
    folder: Path, prefix: str, left: str | None, leftovers: bool, above: frozenset[tuple[int, int]]
) -> Iterator[tuple[str, str | None]]:
    try:
        here = os.stat(folder)
        if (here.st_dev, here.st_ino) in above:
            return  # a link to a folder that it stands in
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        if left is not None:
            return  # a file server's own folder, which only the server may read
        raise RequestError(f"the folder {folder} cannot be listed ({error.strerror or error})") from error
    for entry in entries:
        reason = left or (entry.name if left_by_tools(entry.name) else None)
        if reason is not None and not leftovers:
            continue
        is_link = entry.is_symlink()
        if os.path.isdir(entry.path) if is_link else entry.is_dir():  # a link to itself is no error
            below = above | {(here.st_dev, here.st_ino)}
            yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", reason, leftovers, below)
        elif is_link or entry.is_file():  # a link to nothing is a file that is missing
            yield prefix + entry.name, reason


class Disk:
    """The names in a folder. Each of its folders is listed once, when something in it is asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[str, frozenset[str]] = {}
        self._folders: dict[str, str | None] = {}
        self._forms: dict[str, dict[str, list[str]]] = {}

    def find(self, path: str) -> str:
        """A relative POSIX path as it stands on disk, each part in the form that it has there.

        A part that is not there exactly may differ in its Unicode form or, in its suffix, in case. The path is given
        back as it is when nothing, or more than one thing, can be meant by it.
        """
        folder, slash, name = path.rpartition("/")
        if (slash and not folder) or name in ("", "."):
            found = self._found(path)
            return path if found is None else found
        if folder not in self._folders:
            self._folders[folder] = self._found(folder)
        there = self._folders[folder]
        named = None if there is None else self._named(there, name)
        if named is None:
            return path
        return f"{there}/{named}" if there else named

    def _found(self, path: str) -> str | None:
        """The path as it stands on disk, part by part; None where one is not there."""
        found = ""
        for part in PurePosixPath(path).parts:
            name = self._named(found, part)
            if name is None:
                return None
            found = f"{found}/{name}" if found else name
        return found

    def has(self, path: str) -> bool:
        """Whether there is something under this name, in any of its forms."""
        return (self._root / self.find(path)).exists()

    def _named(self, folder: str, name: str) -> str | None:
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(os.listdir(self._root / folder))
            except OSError:
                self._names[folder] = frozenset()
        names = self._names[folder]
        if name in names:
            return name
        if folder not in self._forms:
            forms = self._forms[folder] = {}
            for other in sorted(names):
                for form in {nfc(other), _any_case(other)}:
                    forms.setdefault(form, []).append(other)
        for form in (nfc(name), _any_case(name)):
            same = self._forms[folder].get(form, [])
            if len(same) == 1:
                return same[0]
        return None


def _any_case(name: str) -> str:
    """The name in one form, its suffix in small letters. The slash keeps it apart from every name."""
    stem, dot, suffix = nfc(name).rpartition(".")
    return f"/{stem}{dot}{suffix.lower()}" if dot else f"/{nfc(name)}"
