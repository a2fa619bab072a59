"""Search spaces: which settings a protocol is tried with."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysweep.errors import RequestError
from raysweep.storage import shipped
from raysweep.transfer.protocol import check_space, get_protocol, read_path, space_name
from raysweep.yaml_file import load_yaml

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

_KEYS = {
    "float": {"low", "high", "log", "default"},
    "int": {"low", "high", "log", "default"},
    "categorical": {"values", "default"},
}


def load_space(
    protocol: str, kind: str, spaces: Mapping[str, Mapping[str, Any]], folders: Iterable[Path], adaptation: str = ""
) -> dict[str, Any]:
    """The search space `<protocol>_<kind>` (of an adaptation: `space_name`), checked and in one canonical form.

    Looked up in the study's own `transfer.spaces`, then as `<name>.yaml` or `search_spaces/<name>.yaml` in each
    of `folders`, then among those that ship with raysweep. An entry is a constant or one of
    `{type: float, low, high, default[, log]}`, `{type: int, low, high, default[, log]}` and
    `{type: categorical, values: [...], default}`. The defaults together are the first setting of every search. A frozen
    protocol has a path in its place (see `read_path`).

    Returns: setting name -> constant or entry with numbers as numbers, sorted by name.
    Raises RequestError naming the file or key that is wrong.
    """
    name = space_name(protocol, kind, adaptation)
    where, found = _find(name, spaces, folders)
    if not isinstance(found, Mapping) or not all(isinstance(key, str) for key in found):
        raise RequestError(f"{where}: a search space maps names of settings to ranges or values")
    check_space(protocol, kind, list(found), where=where, adaptation=adaptation)
    if get_protocol(protocol).frozen:
        path = read_path(protocol, kind, found, where=where)
        return {key: path._asdict() for key in found}
    return {key: _entry(found[key], f"{where}: {key}") for key in sorted(found)}


def suggest(trial: "Trial", space: Mapping[str, Any]) -> dict[str, Any]:
    """One point of a space, drawn by an Optuna trial in the order of the names; constants pass through."""
    found = {}
    for name in sorted(space):
        entry = space[name]
        if not isinstance(entry, Mapping):
            found[name] = entry
        elif entry["type"] == "categorical":
            found[name] = trial.suggest_categorical(name, entry["values"])
        else:
            draw = trial.suggest_int if entry["type"] == "int" else trial.suggest_float
            found[name] = draw(name, entry["low"], entry["high"], log=entry["log"])
    return found


def default_of(space: Mapping[str, Any]) -> dict[str, Any]:
    """The setting that a space names as its default."""
    return {name: e["default"] if isinstance(e, Mapping) else e for name, e in sorted(space.items())}


def distributions(space: Mapping[str, Any]) -> dict[str, "BaseDistribution"]:
    """The space as Optuna describes it, without its constants."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, BaseDistribution] = {}
    for name, entry in space.items():
        if not isinstance(entry, Mapping):
            continue
        if entry["type"] == "categorical":
            found[name] = CategoricalDistribution(entry["values"])
        else:
            kind = IntDistribution if entry["type"] == "int" else FloatDistribution
            found[name] = kind(entry["low"], entry["high"], log=entry["log"])
    return found


def _find(name: str, spaces: Mapping[str, Any], folders: Iterable[Path]) -> tuple[str, Any]:
    if name in spaces:
        return f"transfer.spaces.{name}", spaces[name]
    file = f"{name}.yaml"
    own = [path for folder in folders for path in (folder / file, folder / "search_spaces" / file)]
    for path in [*own, shipped("search_spaces") / file]:
        if path.is_file():
            return str(path), load_yaml(path)
    raise RequestError(f"transfer.spaces: there is no search space {name}; write {file} beside the study")


def _entry(entry: Any, where: str) -> Any:
    if not isinstance(entry, Mapping):
        if isinstance(entry, list):
            raise RequestError(f"{where}: give one value, or {{type: categorical, values: [...]}} to choose from")
        return entry
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
        number = float(value)  # type: ignore[arg-type]  # YAML reads 1e-5, without a dot, as a string
    except (TypeError, ValueError):
        raise RequestError(f"{where}: {key} must be a number, not {value!r}") from None
    if isinstance(value, bool) or not math.isfinite(number) or (kind == "int" and number != int(number)):
        raise RequestError(f"{where}: {key} must be {'a whole' if kind == 'int' else 'a finite'} number, not {value!r}")
    return int(number) if kind == "int" else number
