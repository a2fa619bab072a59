"""Search spaces: which settings a protocol is tried with."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from raysweep.errors import RequestError
from raysweep.storage import shipped
from raysweep.sweep.entry import read_entry
from raysweep.transfer.protocol import check_space, get_protocol, protocol_names, read_path, read_settings, space_name
from raysweep.transfer.spec import Adapt
from raysweep.yaml_file import key_lines, load_yaml

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

Space = Mapping[str, Any]


def load_space(
    protocol: str,
    kind: str,
    spaces: Mapping[str, Mapping[str, Any] | str],
    folders: Iterable[Path],
    adaptation: str = "",
) -> dict[str, Any]:
    """The search space `<protocol>_<kind>` (of an adaptation: `space_name`), checked and in one canonical form.

    Looked up in the study's own `transfer.spaces`, then as `<name>.yaml` or `search_spaces/<name>.yaml` in each
    of `folders`, then among those that ship with raysweep. Where the study has a word in place of a space, such as
    `mormont2020`, the file is `<name>-<word>.yaml`. An entry is a constant or what `read_entry` takes. The defaults
    together are the first setting of every search. A frozen protocol has a path in its place (see `read_path`).

    Returns: setting name -> constant or entry with numbers as numbers, sorted by name.
    Raises RequestError naming the file or key that is wrong, and the line.
    """
    how = get_protocol(protocol)
    _check_names(spaces)
    found = _find(space_name(protocol, kind, adaptation), spaces, list(folders))
    keys = found.keys
    if not isinstance(keys, Mapping) or not all(isinstance(key, str) for key in keys):
        raise RequestError(f"{found.where}: a search space maps names of settings to ranges or values")
    fields = how.settings_of(kind, adaptation or how.adaptation).model_fields
    stray = next((key for key in keys if key not in fields), None)
    check_space(protocol, kind, list(keys), where=found.at(stray), adaptation=adaptation)
    if get_protocol(protocol).frozen:
        path = read_path(protocol, kind, keys, where=found.at(next(iter(keys), None)))
        return {key: path._asdict() for key in keys}
    space = {key: read_entry(keys[key], f"{found.at(key)}: {key}") for key in sorted(keys)}
    for key in ranges_of(space):
        if "when" in space[key]:
            if fields[key].is_required():
                raise RequestError(f"{found.at(key)}: {key}: {protocol} always needs it; it cannot have a when")
            space[key] |= {"when": _checked_when(space, key, f"{found.at(key)}: {key}")}
    plain = default_of(space)
    for key, entry in space.items():  # a value that the protocol does not take is found now, and not by a trial
        for value in _ends(entry):
            read_settings(protocol, kind, {**plain, key: value}, adaptation, where=found.at(key))
    return space


def ranges_of(space: Space) -> list[str]:
    """Names of the settings that vary, sorted."""
    return sorted(name for name, entry in space.items() if isinstance(entry, Mapping))


def has_conditions(space: Space) -> bool:
    """Whether a setting is there only with some values of others."""
    return any("when" in space[name] for name in ranges_of(space))


def present(space: Space, values: Mapping[str, Any]) -> dict[str, Any]:
    """Of a value for every setting, those that are there, given the others; sorted by name."""
    found: dict[str, Any] = {}
    for name in _in_order(space):
        if _is_there(space[name], found):
            found[name] = values[name]
    return {name: found[name] for name in sorted(found)}


def suggest(trial: "Trial", space: Space) -> dict[str, Any]:
    """One point of a space, drawn by an Optuna trial in the order of the names; constants pass through.

    A setting comes after those that it depends on, and is left out where it is not there.
    """
    found: dict[str, Any] = {}
    for name in _in_order(space):
        entry = space[name]
        if not _is_there(entry, found):
            continue
        if not isinstance(entry, Mapping):
            found[name] = entry
        elif entry["type"] == "categorical":
            found[name] = trial.suggest_categorical(name, entry["values"])
        else:
            draw = trial.suggest_int if entry["type"] == "int" else trial.suggest_float
            found[name] = draw(name, entry["low"], entry["high"], log=entry["log"])
    return {name: found[name] for name in sorted(found)}


def default_of(space: Space) -> dict[str, Any]:
    """The setting that a space names as its default."""
    return present(space, {name: e["default"] if isinstance(e, Mapping) else e for name, e in space.items()})


def distributions(space: Space) -> dict[str, "BaseDistribution"]:
    """The space as Optuna describes it, without its constants."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, BaseDistribution] = {}
    for name in ranges_of(space):
        entry = space[name]
        if entry["type"] == "categorical":
            found[name] = CategoricalDistribution(entry["values"])
        else:
            kind = IntDistribution if entry["type"] == "int" else FloatDistribution
            found[name] = kind(entry["low"], entry["high"], log=entry["log"])
    return found


def _ends(entry: Any) -> list[Any]:
    """The values that a setting can have; of a range its ends."""
    if not isinstance(entry, Mapping):
        return [entry]
    return entry["values"] if entry["type"] == "categorical" else [entry["low"], entry["high"]]


def _in_order(space: Space) -> list[str]:
    """Names sorted, but each after those that it depends on; of a loop, what is not in it."""
    left, found = sorted(space), []
    while left:
        ready = [n for n in left if not isinstance(space[n], Mapping) or not set(space[n].get("when", ())) & set(left)]
        if not ready:
            break
        found.append(ready[0])
        left.remove(ready[0])
    return found


def _is_there(entry: Any, others: Mapping[str, Any]) -> bool:
    when = entry.get("when", {}) if isinstance(entry, Mapping) else {}
    return all(name in others and repr(others[name]) in map(repr, values) for name, values in when.items())


def _checked_when(space: Space, key: str, where: str) -> dict[str, list[Any]]:
    """The conditions of an entry, their values as the settings they name have them."""
    made = {}
    for name, values in space[key]["when"].items():
        if name not in space:
            raise RequestError(f"{where}: when: there is no setting {name!r} in this space")
        if name == key or key not in _in_order(space):
            raise RequestError(f"{where}: when: settings depend on each other in a loop")
        parent = space[name]
        if isinstance(parent, Mapping) and parent["type"] != "categorical":
            raise RequestError(f"{where}: when: {name} is a range; only a choice or a constant can be asked for")
        known = parent["values"] if isinstance(parent, Mapping) else [parent]
        made[name] = [next((k for k in known if repr(k) == repr(v)), None) for v in values]
        for value, met in zip(values, made[name], strict=True):
            if met is None and value is not None:
                raise RequestError(f"{where}: when: {name} is never {value!r}; it is one of {known}")
    return made


@dataclass(frozen=True)
class _Found:
    """A space as it was written: in a file, or in the study."""

    where: str
    keys: Any
    lines: Mapping[str, int] = field(default_factory=dict)  # of a file's keys

    def at(self, key: str | None) -> str:
        return f"{self.where}, line {self.lines[key]}" if key is not None and key in self.lines else self.where


def _check_names(spaces: Mapping[str, Any]) -> None:
    """Raise RequestError for a space that no search would ever take: its settings would be passed by."""
    known = {space_name(name, kind, how) for name in protocol_names() for kind in get_protocol(name).kinds
             for how in ("", *get_args(Adapt)[1:]) if how == "" or not get_protocol(name).frozen}  # fmt: skip
    for name in spaces:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"they are called {', '.join(sorted(known))}"
            raise RequestError(f"transfer.spaces.{name}: no search space is called so; {hint}")


def _find(name: str, spaces: Mapping[str, Any], folders: list[Path]) -> _Found:
    own = spaces.get(name)
    if own is not None and not isinstance(own, str):
        return _Found(f"transfer.spaces.{name}", own)
    file = f"{name}-{own}.yaml" if own else f"{name}.yaml"
    places = [path for folder in folders for path in (folder, folder / "search_spaces")]
    for path in [*(place / file for place in places), shipped("search_spaces") / file]:
        if path.is_file():
            return _Found(str(path), load_yaml(path), key_lines(path))
    if own is None:
        raise RequestError(f"transfer.spaces: there is no search space {name}; write {file} beside the study")
    files = {path for place in [*places, shipped("search_spaces")] for path in place.glob(f"{name}-*.yaml")}
    known = sorted({path.stem.removeprefix(f"{name}-") for path in files})
    raise RequestError(
        f"transfer.spaces.{name}: there is no {file} beside the study or among those that ship "
        f"({', '.join(known) or 'none'})"
    )
