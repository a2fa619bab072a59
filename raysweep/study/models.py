"""What `raysweep checkpoints` shows: the published models that have a card."""

from raysweep.backbones.published import list_cards


def model_rows() -> tuple[list[str], list[list[str]]]:
    """A header and a row for each published model."""
    rows = []
    for card in list_cards():
        terms = f"accept on {card.licence.accept}" if card.licence.accept else "nothing to accept"
        if card.licence.redistribution == "forbidden":
            terms += "; not to be passed on"
        rows.append(
            [card.name, card.title, card.backbone, card.licence.name, f"{card.mpp:g}" if card.mpp else "several",
             str(card.px), ", ".join(card.sources), terms]
        )  # fmt: skip
    return ["init: published:", "model", "architecture", "licence", "um/px", "px", "has seen", "terms"], rows
