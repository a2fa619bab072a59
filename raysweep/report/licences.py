"""Under which licences data and weights stand, and whether one of them forbids commercial use."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from raysweep.errors import RequestError
from raysweep.report.tables import Table
from raysweep.storage import Storage
from raysweep.tasks.card import Card

FORBIDDEN, ALLOWED, NOT_KNOWN = "forbidden", "allowed", "not known"
_HEADERS = ("of", "name", "licence", "commercial use", "terms")
_FORBIDS = re.compile(r"\bnc\b|non.?commercial|no commercial|research(?: use)? only|academic", re.IGNORECASE)
_ALLOWS = re.compile(r"^(?:apache|mit\b|bsd|cc0|public domain|cc.by(?:.sa)?(?:.[\d.]+)?$)", re.IGNORECASE)


def commercial_use(licence: str) -> str:
    """By the words of a licence's name: forbidden, allowed, or `not known` where they do not say."""
    if _FORBIDS.search(licence.replace("-", " ").replace("_", " ")):
        return FORBIDDEN
    return ALLOWED if _ALLOWS.search(licence) else NOT_KNOWN


def licences_table(cards: Mapping[str, Card], checkpoints: Mapping[str, Sequence[Storage]]) -> tuple[Table, str]:
    """A row for each task, and for each licence in the lineage of each checkpoint; and a warning that names those that
    forbid commercial use (empty where none does).

    checkpoints: a folder for each pretraining; the first that can be read speaks for the others.
    """
    rows = [["data", name, card.licence.name, commercial_use(card.licence.name), card.licence.url or ""]
            for name, card in cards.items()]  # fmt: skip
    rows += [row for name, places in checkpoints.items() for row in _of_weights(name, places)]
    barred = [f"{name} ({licence})" for _, name, licence, commercial, _ in rows if commercial == FORBIDDEN]
    warning = f"Commercial use is forbidden by the licence of {', '.join(barred)}." if barred else ""
    return Table("licences", _HEADERS, rows), warning


def _of_weights(name: str, places: Sequence[Storage]) -> list[list[str]]:
    from raysweep.backbones.checkpoint import read_info

    for folder in places:
        try:
            info = read_info(folder)
        except (OSError, RequestError):  # not finished, or damaged: the table of checkpoints says so
            continue
        steps = [*info.parents, info.model_dump()]
        said = list(dict.fromkeys(str(step["licence"]) for step in steps if step.get("licence")))
        if not said:
            own = steps[0].get("init") == "random"
            return [["weights", name, "own weights" if own else "not stated", "" if own else NOT_KNOWN, ""]]
        published = _of_card(steps[0])
        return [["weights", name, licence, published if published and i == 0 else commercial_use(licence), ""]
                for i, licence in enumerate(said)]  # fmt: skip
    return []


def _of_card(first: Mapping[str, Any]) -> str:
    """What the card of the published model that a lineage begins with says; empty where it begins with none."""
    from raysweep.backbones.published import PREFIX, find_card

    init = str(first.get("init") or "")
    if not init.startswith(PREFIX):
        return ""
    try:
        said = find_card(init.removeprefix(PREFIX).split(":")[0]).licence.commercial
    except RequestError:
        return ""
    return NOT_KNOWN if said == "unknown" else said
