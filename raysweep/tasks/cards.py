"""Dataset cards by name: in the study's folder, in its `datasets` subfolder, or shipped with raysweep."""

import difflib
import re
from pathlib import Path
from typing import Any

from raysweep.errors import RequestError
from raysweep.storage import shipped
from raysweep.tasks.card import Card
from raysweep.tasks.parse import parse
from raysweep.yaml_file import load_yaml

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def load_card(ref: str | dict[str, Any], folders: list[Path]) -> Card:
    """The card that a study names or spells out.

    A name is looked up as `NAME.yaml` in each folder, in its `datasets` subfolder, then among the shipped cards.
    Raises RequestError for an unknown name (with the nearest ones), a file that is no YAML, or a wrong key.
    """
    if isinstance(ref, dict):
        return parse(Card, ref, f"tasks: card {ref.get('name', '(without a name)')}").found_in(*map(Path, folders))
    for folder in _places(folders):
        path = folder / f"{ref}.yaml"
        if _NAME.fullmatch(ref) and path.is_file():
            return _read(path)
    known = card_names(folders)
    near = difflib.get_close_matches(ref, known, n=3) or known
    raise RequestError(f"tasks: no card is called {ref}; there is {', '.join(near)}")


def card_names(folders: list[Path]) -> list[str]:
    """The names of all cards that `load_card` would find, sorted."""
    return sorted(path.stem for path in _files(folders))


def list_cards(folders: list[Path]) -> list[Card]:
    """Every card that `load_card` would find, by name.

    Raises RequestError for a card with a wrong key.
    """
    return [_read(path) for path in _files(folders)]


def _places(folders: list[Path]) -> list[Path]:
    mine = [place for folder in folders for place in (Path(folder), Path(folder) / "datasets")]
    return [*mine, shipped("datasets")]


def _files(folders: list[Path]) -> list[Path]:
    """One file per name, from the first place that has it. Other YAML files, such as studies, are passed by."""
    found: dict[str, Path] = {}
    for place in _places(folders):
        for path in sorted(place.glob("*.yaml")):
            if path.stem not in found and _NAME.fullmatch(path.stem) and _is_card(path):
                found[path.stem] = path
    return [found[name] for name in sorted(found)]


def _is_card(path: Path) -> bool:
    try:
        value = load_yaml(path)
    except RequestError:  # it cannot be told what it is: `load_card` says what is wrong with it when it is asked for
        return False
    return isinstance(value, dict) and {"kind", "classes", "layout"} <= set(value)


def _read(path: Path) -> Card:
    value = load_yaml(path)
    if not isinstance(value, dict):
        raise RequestError(f"{path}: a card is a mapping of keys to values")
    card = parse(Card, value, str(path))
    if card.name != path.stem:
        raise RequestError(f"{path}: name: the card calls itself {card.name}; name it as its file, {path.stem}")
    return card.found_in(path.parent)
