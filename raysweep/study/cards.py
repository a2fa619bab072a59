"""What `raysweep datasets` shows and prepares."""

import re
from pathlib import Path

import yaml

from raysweep.local_path import local_path
from raysweep.progress import Progress
from raysweep.secrets import redacted
from raysweep.study.tasks import card_folders
from raysweep.tasks.card import Card
from raysweep.tasks.cards import list_cards, load_card
from raysweep.tasks.prepare import licence_accepted, prepare

_KINDS = {"classification": "classif.", "segmentation": "segment."}  # so that the table fits
_SHORT = 34  # characters of an address in the table
_ADDRESS = re.compile(r"https?://(?:www\.)?([^\s,;)]+)")


def card_rows() -> tuple[list[str], list[list[str]]]:
    """A header and a row per card; a licence that is still to be accepted has a star."""
    rows = []
    for card in list_cards(card_folders(Path.cwd())):
        images = f"{card.n_images:,}" if card.n_images else ""
        units = f"{card.n_units:,} {card.unit}s" if card.n_units else f"{card.unit}s"
        terms = card.licence.name.partition(",")[0] + ("" if licence_accepted(card) else " *")
        kind = _KINDS[card.kind]
        rows.append([card.name, kind, str(len(card.classes)), images, units, terms, _where(card)])
    return ["name", "kind", "classes", "images", "units", "licence", "where to get it"], rows


def _where(card: Card) -> str:
    """The first address in the card's source, without what every address begins with; the middle of a long one is left
    out. `card_text` has the whole source."""
    if card.source.startswith("Not public"):
        return "not public"
    found = _ADDRESS.search(card.source)
    if found is None:
        return card.source
    address = found[1].rstrip("./")
    host, *parts = address.split("/")
    short = (address, f"{host}/…/{parts[-1]}", f"{host}/…") if parts else (address,)
    return next((one for one in short if len(one) <= _SHORT), short[-1])


def card_text(name: str) -> str:
    """A card as YAML, without what it leaves at its default."""
    card = load_card(name, card_folders(Path.cwd()))
    shown = redacted(card.model_dump(mode="json", exclude_defaults=True))
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True)


def prepare_card(
    name: str, data: Path, accept: bool, *, download: bool = False, progress: Progress | None = None
) -> tuple[str, bool]:
    """Check a set's files against its card. Returns what was found, and whether some images cannot be used."""
    card = load_card(name, card_folders(Path.cwd()))
    summary = prepare(card, local_path(data, "--data"), accept, download=download, progress=progress)
    return str(summary), bool(summary.excluded)
