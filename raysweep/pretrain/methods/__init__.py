"""Pretraining methods, one file each. A file's name is the method's name; `register` enters its class."""

import difflib
import importlib
import pkgutil
from collections.abc import Callable

from raysweep.errors import RequestError
from raysweep.pretrain.method import Method

_methods: dict[str, type[Method]] = {}


def register(name: str) -> Callable[[type[Method]], type[Method]]:
    """Class decorator: make a method known by name."""

    def enter(method: type[Method]) -> type[Method]:
        _methods[name] = method
        return method

    return enter


def method_names() -> list[str]:
    """The methods there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find_method(name: str) -> type[Method]:
    """A method by name. Raises RequestError, with the nearest name, when there is none."""
    known = method_names()
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"methods: {', '.join(known)}"
        raise RequestError(f"method {name}: there is none of that name; {hint}")
    importlib.import_module(f"{__name__}.{name}")
    return _methods[name]
