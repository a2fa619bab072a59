"""Published models: one card each, with what their weights need beyond a file. Light."""

import difflib
import functools
import hashlib
import importlib.resources
import json
from typing import Any, Literal

from pydantic import Field, ValidationError

from raysweep.backbones.given import Interpolation, Pool, Triple
from raysweep.errors import RequestError, WorkError
from raysweep.model import Model, problem
from raysweep.yaml_file import parse_yaml

PREFIX = "published:"


class Terms(Model):
    """The licence of a model's weights."""

    name: str
    redistribution: Literal["allowed", "forbidden", "unknown"]
    commercial: Literal["allowed", "forbidden", "unknown"]
    accept: str | None = Field(None, description="page on which the terms are accepted; none: nothing to accept")


class Card(Model):
    """One published model: how timm builds it, what it is fed, what it has seen, where its weights are."""

    name: str
    title: str
    backbone: str = Field(description="timm model name")
    model_args: dict[str, Any] = Field({}, description="as in a study")
    pool: Pool | None = None
    mean: Triple
    std: Triple
    interpolation: Interpolation = "bicubic"
    mpp: float | None = Field(None, description="um per pixel it was trained at; none: several or not known")
    px: int
    licence: Terms
    sources: list[str] = Field(description="data that the weights have seen")
    repository: str = Field(description="on the Hugging Face hub")
    files: list[str] = Field(min_length=1, description="of the repository, with the weights: the first that is there")
    paper: str

    @property
    def identity(self) -> str:
        """What a fingerprint covers: all that can change the weights or what is recorded of them."""
        aside = {"title", "paper", "repository", "files"}
        said = json.dumps(self.model_dump(mode="json", exclude=aside), sort_keys=True)
        return f"{PREFIX}{self.name}:{hashlib.blake2b(said.encode(), digest_size=8).hexdigest()}"


def list_cards() -> list[Card]:
    """Every card that ships with raysweep, by name."""
    return list(_cards().values())


def find_card(name: str) -> Card:
    """The card of a model. Raises RequestError, with the nearest names, for a model without one."""
    if name in _cards():
        return _cards()[name]
    near = difflib.get_close_matches(name, list(_cards()), n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(_cards())}"
    raise RequestError(f"published model {name}: there is no card of it; {hint} (`raysweep checkpoints list`)")


def forbids(identity: str) -> str | None:
    """The model whose licence forbids to pass on the weights that an init's identity names; else None."""
    forbidden = [card for card in _cards().values() if card.licence.redistribution == "forbidden"]
    _, is_card, named = identity.rpartition(PREFIX)  # of a file that has a card it is what ends its identity
    repository = identity.removeprefix("hf-hub:").partition("@")[0].lower() if identity.startswith("hf-hub:") else None
    name = named.partition(":")[0] if is_card else None
    return next((card.name for card in forbidden if card.name == name or card.repository.lower() == repository), None)


def fetch(card: Card) -> str:
    """Path of a published model's weights: from the hub's cache, else over the network with the user's own token.

    Raises WorkError saying which file to put where.
    """
    from huggingface_hub import hf_hub_download

    said = ""
    for file in card.files:
        try:
            return str(hf_hub_download(card.repository, file))
        except Exception as error:  # no network, no token, terms not accepted: the client has a class for each
            said = said or " ".join(str(error).split())[:120]
    page = card.licence.accept or f"https://huggingface.co/{card.repository}"
    raise WorkError(
        f"init {PREFIX}{card.name}: {card.files[0]} of {card.repository} is not in the cache and could not be had "
        f"({said}); accept the terms on {page} and run `hf auth login`, or copy that file beside the study and write "
        f"init: THAT_FILE and card: {card.name}"
    )


@functools.cache
def _cards() -> dict[str, Card]:
    folder = importlib.resources.files("raysweep.backbones") / "published"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    found = {}
    for file in files:
        try:
            card = Card.model_validate(parse_yaml(file.read_text(encoding="utf-8"), file.name))
        except ValidationError as error:
            key, said, _ = problem(error)
            raise RequestError(f"{file.name}: {key}: {said}") from error
        found[card.name] = card
    return found
