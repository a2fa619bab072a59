"""The weights that somebody names on a command line, as checkpoints of a study."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from raysweep.addresses import at_home
from raysweep.backbones.init import check_init, is_file
from raysweep.backbones.names import check_backbone, check_tag
from raysweep.backbones.published import PREFIX, find_card, list_cards
from raysweep.errors import RequestError

IMAGENET = "imagenet"
_DEFAULT = "resnet50.a1_in1k"  # what `imagenet` means where no file of weights says better


@dataclass(frozen=True)
class Candidate:
    """A checkpoint's name, its keys in a study, its architecture, and what was found out about it."""

    name: str
    keys: dict[str, Any]
    backbone: str
    note: str


def find_candidates(weights: Sequence[str]) -> list[Candidate]:
    """`imagenet`, published models (uni2-h), full timm tags, `hf-hub:` names and files of weights, in this order.

    A file is opened to see what architecture it holds, unless it is given as BACKBONE=FILE. `imagenet` is the
    architecture of the first file, so that what differs is the pretraining; without one it is a ResNet-50.
    Raises RequestError for what is none of these, and for two of one name.
    """
    files = {text: _file(text) for text in weights if _is_file(text)}
    like = next((found.backbone for found in files.values()), None)
    found = [files[text] if text in files else _named(text, like) for text in weights]
    if not found:
        raise RequestError("--with: name the weights to compare, such as imagenet, uni2-h, resnet50.tv_in1k or my.pth")
    names = [candidate.name for candidate in found]
    for name in names:
        if names.count(name) > 1 or name == "random":
            raise RequestError(
                f"--with {name}: two checkpoints would be called {name}; rename a file, or leave one out"
            )
    return found


def _is_file(text: str) -> bool:
    return is_file(text) and not text.startswith("hf-hub:")


def _file(text: str) -> Candidate:
    backbone, equals, name = text.rpartition("=")
    path = at_home(name).absolute()
    if not path.is_file():
        raise RequestError(
            f"--with {text}: there is no such file of weights; write its path, or imagenet, or a timm tag"
        )
    if equals:
        check_backbone(backbone)
    else:
        from raysweep.backbones.recognise import recognise

        backbone = recognise(path)
    keys = {"backbone": backbone, "init": path.as_posix()}
    check_init(keys["init"], backbone)
    return Candidate(_plain(path.name.split(".")[0]), keys, backbone, f"{path.name} holds a {backbone}")


def _named(text: str, like: str | None) -> Candidate:
    if text == IMAGENET:
        tag = _imagenet_of(like) if like else _DEFAULT
        return Candidate(text, {"backbone": tag, "init": "timm"}, tag.split(".")[0], f"imagenet is taken as {tag}")
    published = text.removeprefix(PREFIX)
    if text.startswith(PREFIX) or published in {card.name for card in list_cards()}:
        card = find_card(published)
        note = f"{card.title}: {card.licence.name}" + (
            f", accept on {card.licence.accept}" if card.licence.accept else ""
        )
        return Candidate(card.name, {"init": f"{PREFIX}{card.name}"}, card.backbone, note)
    if text.startswith("hf-hub:"):
        backbone = PurePosixPath(text).name
        try:
            check_backbone(backbone)
        except RequestError as error:
            raise RequestError(
                f"--with {text}: its name says no timm architecture; write it into a study: {error}"
            ) from error
        return Candidate(_plain(PurePosixPath(text).name), {"backbone": backbone, "init": text}, backbone, "")
    try:
        check_tag(text)
    except RequestError as error:
        cards = ", ".join(card.name for card in list_cards())
        raise RequestError(
            f"--with {text}: neither imagenet, a published model ({cards}), a file nor a timm tag: {error}"
        ) from error
    return Candidate(_plain(text), {"backbone": text, "init": "timm"}, text.split(".")[0], "")


def _imagenet_of(backbone: str) -> str:
    """timm's own choice of weights of an architecture, where they are ImageNet's."""
    import timm

    config = timm.get_pretrained_cfg(backbone.split(".")[0])
    tag = config.tag if config else ""
    return f"{backbone.split('.')[0]}.{tag}" if tag and "in1k" in tag else _DEFAULT


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._=+-]+", "-", name).strip("-._") or "weights"
