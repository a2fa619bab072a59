"""On-disk layouts: how a folder of files becomes samples. One module here is one layout.

To add one, write a module with a typed options model and a function decorated with `layout`; it is found by
being in this folder.
"""

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysweep.errors import RequestError
from raysweep.model import Model
from raysweep.tasks.card import Card
from raysweep.tasks.masks import MOST_CLASSES
from raysweep.tasks.parse import parse
from raysweep.tasks.reader import Reader
from raysweep.tasks.sample import LeftOut, Sample


@dataclass(frozen=True)
class Layout:
    """One way in which labelled images stand in a folder."""

    name: str
    options: type[Model]
    kinds: frozenset[str]
    index: Callable[[Any, Path, Card], Sequence[Sample | LeftOut]]
    reader: type[Reader] = Reader


_REGISTRY: dict[str, Layout] = {}


def layout(name: str, options: type[Model], kinds: set[str], reader: type[Reader] = Reader) -> Callable:
    """Register `index(options, root, card)` as a layout for tasks of these kinds.

    The function lists what the folder says, samples and what a filter of the card leaves out, and opens no image; it
    raises RequestError for a bad option, a missing table or a class that the card does not know.
    `reader(options, root)` reads images and masks by the names that it gave them.
    """

    def register(index: Callable[[Any, Path, Card], Sequence[Sample | LeftOut]]) -> Callable:
        _REGISTRY[name] = Layout(name, options, frozenset(kinds), index, reader)
        return index

    return register


def layouts() -> dict[str, Layout]:
    """Every layout by name."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(_REGISTRY.items()))


def layout_of(card: Card) -> tuple[Layout, Any]:
    """The card's layout and its validated options.

    Raises RequestError for an unknown layout or option, or one that cannot hold the card's kind of task.
    """
    name = card.layout["type"]
    known = layouts()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3) or list(known)
        raise RequestError(f"card {card.name}: layout.type: no layout is called {name}; there is {', '.join(near)}")
    found = known[name]
    if card.kind not in found.kinds:
        raise RequestError(f"card {card.name}: layout.type: {name} cannot hold a {card.kind} task")
    where = f"card {card.name}: layout"
    options = parse(found.options, {k: v for k, v in card.layout.items() if k != "type"}, where)
    masks = getattr(options, "masks", None)
    if masks is not None:
        masks.check(card.classes, f"{where}.masks")
    if card.kind == "segmentation" and len(card.classes) > MOST_CLASSES:
        raise RequestError(f"card {card.name}: classes: at most {MOST_CLASSES} fit a mask")
    return found, options
