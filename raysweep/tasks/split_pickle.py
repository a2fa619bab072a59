"""Splits that a pickle of names holds, such as Kawai et al.'s `3fold_dict_idx_filenames.pickle`; nothing is unpickled.

A pickle is a program, and running it can run anything. Its instructions are read one by one here
(`pickletools.genops`), and those that build lists, tuples, dicts, texts and whole numbers are followed by hand; the
first other one ends the reading. No instruction looks anything up by name, and no object is called.
"""

import pickletools
from pathlib import Path
from typing import Any

from raysweep.errors import WorkError

SUFFIXES = (".pickle", ".pkl")
_MARK = object()
_VALUES = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING",
})  # fmt: skip
_FIXED = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_OF_MARK = {"LIST": list, "TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_TELLS_NOTHING = frozenset({"PROTO", "FRAME"})


def pickled_splits(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The divisions that a pickle names, and a row for each image: its file's name under `image`, and its side in each
    division, as the pickle calls it; empty where it is on none.

    It holds a dict of divisions, each a dict of sides with a list of names, or a dict that has such a list under
    `imgs`; or one division without the outer dict, which is then called `split`. Raises OSError when it cannot be read,
    WorkError for what holds anything else.
    """
    held = _plain(path.read_bytes())
    if not isinstance(held, dict) or not held:
        raise WorkError(f"it holds a {type(held).__name__}, not a dict of divisions")
    alone = all(_names(of) is not None for of in held.values())
    divisions = {"split": held} if alone else {str(name): sides for name, sides in held.items()}
    rows: dict[str, dict[str, str]] = {}
    for division, sides in divisions.items():
        for side, of in sides.items() if isinstance(sides, dict) else [("", None)]:
            names = _names(of)
            if names is None:
                raise WorkError(f"{side} of the division {division} is no list of file names, and has none under imgs")
            for name in names:
                row = rows.setdefault(name, {"image": name, **dict.fromkeys(divisions, "")})
                if row[division]:
                    raise WorkError(f"{name} is listed twice in the division {division}")
                row[division] = str(side)
    return list(divisions), list(rows.values())


def _names(value: Any) -> list[str] | None:
    names = value.get("imgs") if isinstance(value, dict) else value
    return list(names) if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names) else None


def _plain(data: bytes) -> Any:
    """The lists, tuples, dicts, texts and whole numbers that a pickle would build."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for opcode, argument, position in pickletools.genops(data):
            if opcode.name == "STOP":
                (held,) = stack
                return held
            _follow(opcode.name, argument, position, stack, memo)
    except WorkError:
        raise
    except Exception as error:  # a broken pickle leads `genops`, or a list of ours, to any error
        raise WorkError(f"it is no pickle, or a broken one ({error})") from error
    raise WorkError("it is no pickle, or a broken one")


def _follow(name: str, argument: Any, position: int | None, stack: list[Any], memo: dict[int, Any]) -> None:
    if name in _VALUES:
        stack.append(argument)
    elif name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
        memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
    elif name in ("GET", "BINGET", "LONG_BINGET"):
        stack.append(memo[argument])
    elif name == "MARK":
        stack.append(_MARK)
    elif name in _FIXED:
        stack.append(_FIXED[name])
    elif name in _EMPTY:
        stack.append(_EMPTY[name]())
    elif name in _OF_MARK:
        stack.append(_OF_MARK[name](_to_mark(stack)))
    elif name in _TUPLES:
        items = [stack.pop() for _ in range(_TUPLES[name])]
        stack.append(tuple(reversed(items)))
    elif name in ("APPEND", "APPENDS"):
        items = [stack.pop()] if name == "APPEND" else _to_mark(stack)
        _last(stack, list).extend(items)
    elif name in ("SETITEM", "SETITEMS", "DICT"):
        items = [stack.pop(), stack.pop()][::-1] if name == "SETITEM" else _to_mark(stack)
        if name == "DICT":
            stack.append({})
        _last(stack, dict).update(zip(items[::2], items[1::2], strict=True))
    elif name not in _TELLS_NOTHING:
        what = f"{name} {argument}" if isinstance(argument, str) else name
        raise WorkError(
            f"at byte {position} it asks for more than lists, dicts, texts and whole numbers ({what[:80]}), which is "
            "not done: it could run anything; write the splits as a CSV table"
        )


def _to_mark(stack: list[Any]) -> list[Any]:
    items = []
    while (item := stack.pop()) is not _MARK:
        items.append(item)
    return items[::-1]


def _last(stack: list[Any], kind: type) -> Any:
    if not isinstance(stack[-1], kind):
        raise WorkError(f"it adds to a {type(stack[-1]).__name__} what a {kind.__name__} is for")
    return stack[-1]
