"""One entry of a search space, in any of the forms that people may write, in one canonical form."""

import math
import re
from collections.abc import Mapping
from typing import Any

from raysweep.errors import RequestError
from raysweep.yaml_file import parse_yaml

_KEYS = {
    "float": {"low", "high", "log", "default"},
    "int": {"low", "high", "log", "default"},
    "categorical": {"values", "default"},
}
_SHORT = {  # name -> type, log
    "uniform": ("float", False),
    "loguniform": ("float", True),
    "int": ("int", False),
    "logint": ("int", True),
    "choice": ("categorical", False),
}
_CALL = re.compile(r"\s*([A-Za-z_]\w*)\s*\((.*)\)\s*", re.DOTALL)


def read_entry(entry: Any, where: str) -> Any:
    """A constant as it is, or a range or choice with numbers as numbers and all its keys.

    Forms: a constant; `{type: float, low, high, default[, log]}`, `{type: int, ...}`, `{type: categorical, values,
    default}`; the short `uniform(0, 0.5, default=0.1)`, `loguniform(...)`, `int(...)`, `logint(...)`, `choice(a, b,
    default=a)`; and `{range: <constant or short form>, when: ...}`. `when: {name: value or list}` may be added to any
    mapping: the entry is there only with these values of others. `where` begins the sentence of a RequestError.
    """
    if isinstance(entry, str):
        return _short(entry, where)
    if isinstance(entry, list):
        raise RequestError(f"{where}: give one value, or choice(...) to choose from several")
    if not isinstance(entry, Mapping):
        return entry
    entry = dict(entry)
    when = entry.pop("when", None)
    if "range" in entry:
        if len(entry) > 1:
            raise RequestError(f"{where}: beside range there is only when; {next(k for k in entry if k != 'range')} "
                               "belongs into the range")  # fmt: skip
        found = read_entry(entry["range"], where)
        if not isinstance(found, dict):
            found = {"type": "categorical", "values": [found], "default": found}
    else:
        found = _long(entry, where)
    return found if when is None else found | {"when": _when(when, where)}


def _short(text: str, where: str) -> Any:
    called = _CALL.fullmatch(text)
    if called is None:
        return text  # a constant
    name, inner = called.groups()
    if name not in _SHORT:
        raise RequestError(f"{where}: {name}(...) is none of {', '.join(_SHORT)}")
    kind, log = _SHORT[name]
    example = "choice(a, b, default=a)" if kind == "categorical" else f"{name}(1, 8, default=2)"
    try:
        values = parse_yaml(f"[{inner}]", where)
        entry: dict[str, Any] = {"type": kind}
        if values and isinstance(values[-1], str) and values[-1].replace(" ", "").startswith("default="):
            entry["default"] = parse_yaml(values.pop().partition("=")[2], where)
    except RequestError as error:
        raise RequestError(f"{where}: {text} cannot be read; write it as {example}") from error
    if kind == "categorical":
        return _long(entry | {"values": values}, where)
    if len(values) != 2:
        raise RequestError(f"{where}: {text} has {len(values)} ends; write it as {example}")
    return _long(entry | {"low": values[0], "high": values[1], "log": log}, where)


def _when(when: Any, where: str) -> dict[str, list[Any]]:
    if not isinstance(when, Mapping) or not when:
        raise RequestError(f"{where}: when maps names of other settings to a value or a list of values")
    return {str(name): list(v) if isinstance(v, list) else [v] for name, v in sorted(when.items())}


def _long(entry: Mapping[str, Any], where: str) -> dict[str, Any]:
    kind = entry.get("type")
    if kind not in _KEYS:
        raise RequestError(f"{where}: type {kind!r} is none of {', '.join(_KEYS)}")
    for key in entry:
        if key != "type" and key not in _KEYS[kind]:
            raise RequestError(f"{where}: a {kind} has no key {key!r}; use {', '.join(sorted(_KEYS[kind]))}")
    if "default" not in entry:
        raise RequestError(f"{where}: default is missing; name the value that the first trial of a search takes")
    if kind == "categorical":
        values, default = _values(entry.get("values"), where), entry["default"]
        if repr(default) not in map(repr, values):
            raise RequestError(f"{where}: default {default!r} is none of the values")
        return {"type": kind, "values": values, "default": default}
    low, high = _number(entry, "low", kind, where), _number(entry, "high", kind, where)
    log = entry.get("log", False)
    if not isinstance(log, bool):
        raise RequestError(f"{where}: log is true or false, not {log!r}")
    if not low < high:
        raise RequestError(f"{where}: low {low} must be below high {high}")
    if log and low <= 0:
        raise RequestError(f"{where}: low {low} must be above 0 on a log scale")
    default = _number(entry, "default", kind, where)
    if not low <= default <= high:
        raise RequestError(f"{where}: default {default} must lie between low {low} and high {high}")
    return {"type": kind, "low": low, "high": high, "log": log, "default": default}


def _values(values: Any, where: str) -> list[Any]:
    plain = isinstance(values, list) and all(isinstance(v, str | int | float | bool | None) for v in values)
    if not plain or not values or len({repr(v) for v in values}) != len(values):
        raise RequestError(f"{where}: values must be a list of distinct numbers, strings or booleans")
    return list(values)


def _number(entry: Mapping[str, Any], key: str, kind: str, where: str) -> float | int:
    value = entry.get(key)
    try:
        number = float(value)  # type: ignore[arg-type]  # an override may have it as a string
    except (TypeError, ValueError):
        raise RequestError(f"{where}: {key} must be a number, not {value!r}") from None
    if isinstance(value, bool) or not math.isfinite(number) or (kind == "int" and number != int(number)):
        raise RequestError(f"{where}: {key} must be {'a whole' if kind == 'int' else 'a finite'} number, not {value!r}")
    return int(number) if kind == "int" else number
