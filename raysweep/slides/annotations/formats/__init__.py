"""Formats of annotation files. One module here is one format.

To add one, write a module with a function decorated with `annotation_format`; it is found by being in this folder.
"""

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path

from raysweep.slides.annotations.shapes import Shape

Reader = Callable[[Path], list[Shape]]

_REGISTRY: dict[str, Reader] = {}


def annotation_format(*suffixes: str) -> Callable[[Reader], Reader]:
    """Register `read(path) -> list[Shape]` for files with these lower-case suffixes, dot included.

    The function raises WorkError, naming the file and the place in it, for anything that it cannot make sense of.
    """

    def register(read: Reader) -> Reader:
        _REGISTRY.update(dict.fromkeys(suffixes, read))
        return read

    return register


def annotation_formats() -> dict[str, Reader]:
    """The reader of every suffix."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(_REGISTRY.items()))
