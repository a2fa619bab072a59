"""Look up a protocol and check what a study asks of it, before anything runs. Imports nothing heavy."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from raysweep.errors import RequestError
from raysweep.model import Model, problem
from raysweep.transfer.frozen import FrozenProtocol
from raysweep.transfer.job import Protocol
from raysweep.transfer.protocols import registry


class Path(NamedTuple):
    """What a frozen protocol chooses from: values of its one setting, the strongest regularisation first."""

    values: list[Any]
    default: Any  # one of them: taken where a draw cannot be cross-validated


def protocol_names() -> list[str]:
    """Names of all protocols, sorted."""
    return list(registry())


def get_protocol(name: str) -> Protocol:
    """The protocol of that name; RequestError with the nearest names otherwise."""
    known = registry()
    if name not in known:
        raise RequestError(f"protocols: there is no protocol {name!r}; {_nearest(name, known)}")
    return known[name]


def check_protocol(name: str, kind: str) -> None:
    """Raise RequestError unless the protocol exists and can do tasks of this kind."""
    protocol = get_protocol(name)
    if kind not in protocol.kinds:
        raise RequestError(f"protocols: protocol {name} cannot do {kind}: {protocol.why_not}")


def space_name(protocol: str, kind: str, adaptation: str = "") -> str:
    """What the search space of a protocol is called: `finetune_classification`, `finetune_lora_classification`."""
    named = [protocol, kind] if adaptation in ("", get_protocol(protocol).adaptation) else [protocol, adaptation, kind]
    return "_".join(named)


def check_space(name: str, kind: str, keys: Iterable[str], *, where: str, adaptation: str = "") -> None:
    """Raise RequestError unless a search space names only settings of the protocol, and all it needs.

    `where` is the file or key that the sentence blames.
    """
    check_protocol(name, kind)
    fields = _settings(name, kind, adaptation).model_fields
    keys = list(keys)
    for key in keys:
        if key not in fields:
            kinds = get_protocol(name).kinds - {kind}
            others = [other for other in sorted(kinds) if key in _settings(name, other, adaptation).model_fields]
            only = f" for {kind} tasks: it is one of {others[0]}" if others else ""
            raise RequestError(f"{where}: {name} has no setting {key!r}{only}; {_nearest(key, fields)}")
    for key, field in fields.items():
        if field.is_required() and key not in keys:
            raise RequestError(f"{where}: the setting {key!r} of {name} is missing; give it a range or a value")


def read_settings(name: str, kind: str, params: Mapping[str, Any], adaptation: str = "", *, where: str = "") -> Model:
    """The params of a job as the protocol's typed settings; RequestError names the first wrong one.

    `where` is the file or key that its sentence blames; default: the params.
    """
    where = where or f"params of {name}"
    check_space(name, kind, params, where=where, adaptation=adaptation)
    try:
        return _settings(name, kind, adaptation)(**params)
    except ValidationError as error:
        key, said, first = problem(error)
        raise RequestError(f"{where}: {key}={first['input']!r}: {said}") from error


def read_path(name: str, kind: str, space: Mapping[str, Any], *, where: str) -> Path:
    """The path that a search space gives a frozen protocol: `{SETTING: {values: [...], default: ...}}`, or one value.

    Values may stand in any order. `where` is the file or key that the sentence of a RequestError blames.
    """
    protocol = get_protocol(name)
    assert isinstance(protocol, FrozenProtocol)
    check_space(name, kind, space, where=where)
    key, entry = protocol.setting, space[protocol.setting]
    where = f"{where}: {key}"
    if not isinstance(entry, Mapping):
        entry = {"values": entry if isinstance(entry, list) else [entry]}
        entry |= {"default": entry["values"][0]} if len(entry["values"]) == 1 else {}
    if unknown := [k for k in entry if k not in ("values", "default")]:
        raise RequestError(
            f"{where}: {name} has no trials: a range ({unknown[0]}) cannot be searched; give a path, "
            f"{{values: [...], default: ...}}"
        )
    values = entry.get("values")
    if not isinstance(values, list) or not values:
        raise RequestError(f"{where}: values must be a list of the values that {name} chooses from")
    if "default" not in entry:
        raise RequestError(f"{where}: default is missing; name the value for draws too small to be cross-validated")
    settings = [read_settings(name, kind, {key: value}, where=where) for value in [*values, entry["default"]]]
    *numbers, default = (getattr(one, key) for one in settings)
    if len(set(numbers)) < len(numbers):
        raise RequestError(f"{where}: values must be distinct")
    if default not in numbers:
        raise RequestError(f"{where}: default {default:g} is none of the values")
    return Path(sorted(numbers, reverse=protocol.falls), default)


def _settings(name: str, kind: str, adaptation: str) -> type[Model]:
    protocol = get_protocol(name)
    return protocol.settings_of(kind, adaptation or protocol.adaptation)


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    listed = ", ".join(names)
    return f"did you mean {near[0]}? Known: {listed}" if near else f"use one of {listed}"
