"""Protocols by name: every module in this folder registers the one it holds."""

import functools
import importlib
import pkgutil

from raysweep.transfer.job import Protocol

_registry: dict[str, Protocol] = {}


def register(protocol: type[Protocol]) -> type[Protocol]:
    """Class decorator: make a protocol known under its name."""
    _registry[protocol.name] = protocol()
    return protocol


def registry() -> dict[str, Protocol]:
    """All protocols, sorted by name."""
    _import_all()
    return dict(sorted(_registry.items()))


@functools.cache
def _import_all() -> None:
    """Once: a search asks for its protocol several times at every start, and listing a folder takes 0.2 ms."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
