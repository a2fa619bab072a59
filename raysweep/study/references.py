"""References of a study's keys to each other, such as `${data}/slides.csv`: what they may name, how long they get."""

import re
from collections.abc import Mapping
from typing import Any

from raysweep.errors import RequestError

_REFERENCE = re.compile(r"(?<!\\)\$\{([^${}]*)\}")
_MOST = 2**24  # characters of a study with its references written out
_VALUE = 100  # characters that each value counts for, beside its own
_Place = tuple[str, ...]


def check_references(raw: Any, where: str) -> None:
    """Raise RequestError, which begins with `where`, unless every `${...}` names a key of the study.

    A study is data: one from elsewhere must not read this machine's environment (`${oc.env:...}`), nor grow without
    bound by keys that repeat each other. What no key is called is left to who resolves it.
    """
    sizes: dict[_Place, int] = {}

    def size(place: _Place) -> int:
        found = _at(raw, place)
        if place in sizes:
            if sizes[place] < 0:
                raise RequestError(f"{where}: {'.'.join(place)}: refers to itself")
            return sizes[place]
        sizes[place] = -1
        inner: list[_Place] = []
        own = _VALUE
        if isinstance(found, Mapping):
            inner = [(*place, str(key)) for key in found]
        elif isinstance(found, list):
            inner = [(*place, str(index)) for index in range(len(found))]
        elif isinstance(found, str):
            own += len(found)
            inner = [_target(text, place, where) for text in _REFERENCE.findall(found)]
            if "${" in _REFERENCE.sub("", found).replace("\\${", ""):
                raise RequestError(f"{where}: {'.'.join(place)}: {found:.80}: only ${{KEY}} can be written there")
        own += sum(map(size, inner))
        if own > _MOST:
            what = ".".join(place) or "the study"
            raise RequestError(f"{where}: {what} is longer than {_MOST:,} characters with its ${{...}} written out")
        sizes[place] = own
        return own

    size(())


def _target(text: str, place: _Place, where: str) -> _Place:
    """The place that a reference stands for; one that begins with dots starts from its own mapping, and goes up."""
    if ":" in text:
        raise RequestError(
            f"{where}: {'.'.join(place)}: ${{{text}}}: a study reads nothing but its own keys; give the value on the "
            f"command line, as {'.'.join(place)}=VALUE"
        )
    name = text.strip().lstrip(".")
    up = len(text.strip()) - len(name)
    parts = tuple(part for part in re.split(r"[.\[\]]", name) if part)
    return (*place[: len(place) - up], *parts) if up else parts


def _at(raw: Any, place: _Place) -> Any:
    """The value of a place; None where there is none."""
    for part in place:
        if isinstance(raw, Mapping):
            raw = raw.get(part)
        elif isinstance(raw, list) and part.isdigit() and int(part) < len(raw):
            raw = raw[int(part)]
        else:
            return None
    return raw
