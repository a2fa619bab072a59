"""Formats of annotation files. One module here is one format.

To add one, write a module with a function decorated with `annotation_format`; it is found by being in this folder.
"""

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path

from raysweep.errors import WorkError
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


def read_annotations(path: str | Path) -> list[Shape]:
    """Everything that an annotation file holds, in its order; the suffix tells the format.

    Raises WorkError, naming the file and the place in it, when it cannot be read.
    """
    path = Path(path)
    formats = annotation_formats()
    read = formats.get(path.suffix.lower())
    if read is None:
        raise WorkError(f"annotations {path}: no format has the suffix {path.suffix or '(none)'}: {', '.join(formats)}")
    try:
        return read(path)
    except OSError as error:
        raise WorkError(f"annotations {path}: cannot be read ({error.strerror or error})") from error
