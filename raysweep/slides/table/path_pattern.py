"""Globs in which names in braces stand for columns of the slide table."""

import re
from fnmatch import translate

from raysweep.errors import RequestError
from raysweep.leftovers import left_by_tools

_TOKEN = re.compile(r"\*|\?|\[!?\]?[^\]]*\]|\{[^{}]*\}|[^][*?{}]+|.", re.DOTALL)
_WILD = re.compile(r"[*?[{]")
_COLUMN = re.compile(r"\w[\w -]*")
_ANY = ["*", "*"]
_SHOWN = r"(?!\.)[^/]+"  # the name of a folder or file that is not hidden


class PathPattern:
    """A glob of `*`, `?`, `[abc]`, `**` (any number of folders) and `{column}`: one character or more of one folder's
    or file's name, as few as will do. A column that stands twice has the same text in both places.

    Attributes:
        fixed: how many leading parts have no wildcard.
        top: the folder that these are.
        glob: the same pattern with `*` in place of columns.
    """

    def __init__(self, pattern: str, where: str) -> None:
        """`where` begins the messages. Raises RequestError when a brace is malformed."""
        parts = pattern.split("/")
        self.fixed = next((i for i, part in enumerate(parts) if _WILD.search(part)), len(parts))
        self.top = "/".join(parts[: self.fixed]) or "/" * pattern.startswith("/")
        self._columns: list[str] = []
        self._parts = frozenset(parts[self.fixed :])
        self._hidden = any(part.startswith(".") for part in self._parts)
        tokens = [_TOKEN.findall(part) for part in parts]
        folders = "".join(self._name(part, where) + "/" if part != _ANY else f"(?:{_SHOWN}/)*?" for part in tokens[:-1])
        file = self._name(tokens[-1], where) if tokens[-1] != _ANY else f"(?:{_SHOWN}/)*{_SHOWN}"
        self._expression = re.compile(folders + file, re.DOTALL)
        self.glob = "/".join("".join("*" if token[0] == "{" else token for token in part) for part in tokens)

    def columns(self, path: str) -> dict[str, str] | None:
        """What the path tells, by column; None when it does not match.

        As in glob, hidden names are not meant, nor is what tools leave, unless the pattern has it by that name.
        """
        if not all(map(self.means, path.split("/")[self.fixed :])):
            return None
        found = self._expression.fullmatch(path)
        return dict(zip(self._columns, found.groups(), strict=True)) if found else None

    def means(self, name: str) -> bool:
        """Whether a folder or file of this name below the fixed parts can be meant."""
        return not left_by_tools(name) or name in self._parts or (self._hidden and name.startswith("."))

    def _name(self, tokens: list[str], where: str) -> str:
        """A regular expression for the name of a folder or file; its columns are noted."""
        expression = "" if tokens and tokens[0].startswith(".") else r"(?!\.)"
        for token in tokens:
            if token in ("{", "}"):
                raise RequestError(
                    f"{where}: a brace has no partner between the same two slashes; write {{label}} for a part of the "
                    "path that tells the column `label`, and [{] for a brace that is part of a name"
                )
            if token[0] == "{":
                expression += self._column(token[1:-1], where)
            elif token in ("*", "?"):
                expression += "[^/]*" if token == "*" else "[^/]"
            else:
                expression += "(?!/)" + translate(token)[:-2]  # without the end of the text
        return expression

    def _column(self, name: str, where: str) -> str:
        if not _COLUMN.fullmatch(name) or name == "path":
            raise RequestError(
                f"{where}: {{{name}}} names no column that a path can tell; write a name, as in {{label}}"
            )
        if name in self._columns:
            return rf"(?:\{self._columns.index(name) + 1})"
        self._columns.append(name)
        return "([^/]+?)"
