"""How tissue is told from glass. One module here is one method, known by the module's name.

To add one, write a module with a function `find(picture) -> bool (h, w)`; it is found by being in this folder.
"""

import importlib
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the names are asked for where numpy is not wanted
    import numpy as np

    from raysweep.slides.tissue.picture import Picture

GIVEN = ("annotations", "mask")  # methods whose result comes from elsewhere


def method_names() -> list[str]:
    """The methods there are."""
    return sorted([*GIVEN, *(module.name for module in pkgutil.iter_modules(__path__))])


def find_method(name: str) -> "Callable[[Picture], np.ndarray]":
    """The function of a method that looks at the picture."""
    return importlib.import_module(f"{__name__}.{name}").find
