"""Look up a protocol and check what a study asks of it, before anything runs. Imports nothing heavy."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from raysweep.errors import RequestError
from raysweep.model import Model
from raysweep.transfer.job import Protocol
from raysweep.transfer.protocols import registry


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


def check_space(name: str, kind: str, keys: Iterable[str], *, where: str) -> None:
    """Raise RequestError unless a search space names only settings of the protocol, and all it needs.

    `where` is the file or key that the sentence blames.
    """
    check_protocol(name, kind)
    fields = get_protocol(name).settings(kind).model_fields
    keys = list(keys)
    for key in keys:
        if key not in fields:
            raise RequestError(f"{where}: {name} has no setting {key!r}; {_nearest(key, fields)}")
    for key, field in fields.items():
        if field.is_required() and key not in keys:
            raise RequestError(f"{where}: the setting {key!r} of {name} is missing; give it a range or a value")


def read_settings(name: str, kind: str, params: Mapping[str, Any]) -> Model:
    """The params of a job as the protocol's typed settings; RequestError names the first wrong one."""
    check_space(name, kind, params, where=f"params of {name}")
    try:
        return get_protocol(name).settings(kind)(**params)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise RequestError(f"params of {name}: {key}={first['input']!r}: {first['msg']}") from error


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    listed = ", ".join(names)
    return f"did you mean {near[0]}? Known: {listed}" if near else f"use one of {listed}"
