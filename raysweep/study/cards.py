"""What `raysweep datasets` shows and prepares."""

from pathlib import Path

import yaml

from raysweep.local_path import local_path
from raysweep.progress import Progress
from raysweep.study.tasks import card_folders
from raysweep.tasks.cards import list_cards, load_card
from raysweep.tasks.prepare import licence_accepted, prepare


def card_rows() -> tuple[list[str], list[list[str]]]:
    """A header and a row per card."""
    rows = []
    for card in list_cards(card_folders(Path.cwd())):
        terms = card.licence.name
        if card.licence.restricted:
            terms += " (accepted)" if licence_accepted(card) else " (to be accepted)"
        rows.append([card.name, card.kind, str(len(card.classes)), card.unit, ", ".join(card.metrics), terms])
    return ["name", "kind", "classes", "unit", "metrics", "licence"], rows


def card_text(name: str) -> str:
    """A card as YAML, without what it leaves at its default."""
    card = load_card(name, card_folders(Path.cwd()))
    return yaml.safe_dump(card.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True)


def prepare_card(
    name: str, data: Path, accept: bool, *, download: bool = False, progress: Progress | None = None
) -> tuple[str, bool]:
    """Check a set's files against its card. Returns what was found, and whether some images cannot be used."""
    card = load_card(name, card_folders(Path.cwd()))
    summary = prepare(card, local_path(data, "--data"), accept, download=download, progress=progress)
    return str(summary), bool(summary.excluded)
