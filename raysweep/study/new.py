"""A folder of labelled images and some weights become a card and a study that compares them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysweep.backbones.machine import machine
from raysweep.errors import RequestError
from raysweep.local_path import local_path
from raysweep.storage import Storage
from raysweep.study.candidates import IMAGENET, Candidate, find_candidates
from raysweep.study.tasks import card_folders
from raysweep.tasks.card import Card
from raysweep.tasks.cards import card_names, load_card
from raysweep.tasks.draft.card import Draft, draft_card
from raysweep.yaml_file import written_line

_FEW = 60  # images from which on a part of the labels is worth a look of its own
_PLAIN = ("resnet", "efficientnet", "convnext", "regnet", "densenet", "vit_tiny", "vit_small")  # cheap enough to draw


@dataclass(frozen=True)
class NewStudy:
    """The two files, and lines for people: what was seen, and what to look at before trusting it."""

    card: Path
    study: Path
    facts: list[str]
    warnings: list[str]


def new_card(folder: Path, out: Path, **said: Any) -> tuple[Path, Draft]:
    """Write a first card of a folder into `out/datasets`; `said` goes to `draft_card`.

    Raises RequestError where there is a card of that name already, and as `draft_card`.
    """
    draft = draft_card(local_path(folder, "FOLDER"), **said)
    return _keep_card(draft, local_path(out, "--out")), draft


def _keep_card(draft: Draft, out: Path) -> Path:
    path = out / "datasets" / f"{draft.card.name}.yaml"
    if path.exists():
        raise RequestError(f"{path}: this card is there already; correct it, remove it, or give another --name")
    if draft.card.name in card_names(card_folders()):
        raise RequestError(
            f"--name {draft.card.name}: a card that ships with raysweep is called so; give another --name"
        )
    _write(path, draft.text)
    return path


def new_study(folder: Path, weights: Sequence[str], out: Path, *, name: str | None = None, **said: Any) -> NewStudy:
    """Write `out/datasets/NAME.yaml` and `out/NAME-study.yaml`, a study that compares weights on a folder's images.

    A card of that name that is there already is used as it is: somebody may have corrected it. weights: see
    `find_candidates`; said: see `draft_card`. Raises RequestError where the study is there already, and as these two.
    """
    folder, out = local_path(folder, "FOLDER"), local_path(out, "--out")
    candidates = find_candidates(weights)
    light = not machine()["gpu"]
    draft = draft_card(folder, name=name, light=light, **said)
    card_path = out / "datasets" / f"{draft.card.name}.yaml"
    study_path = out / f"{draft.card.name}-study.yaml"
    if study_path.exists():
        raise RequestError(f"{study_path}: this study is there already; run it, or remove it to write it anew")
    facts, warnings = draft.facts, draft.warnings
    card = draft.card
    if card_path.exists():
        card = load_card(card.name, [card_path.parent])
        facts, warnings = [f"the card {card_path} is there already and is used as it is"], []
    else:
        _keep_card(draft, out)
    _write(study_path, _study_text(card, folder.resolve().parent, candidates))
    notes = [candidate.note for candidate in candidates if candidate.note]
    return NewStudy(card_path, study_path, [*facts, *notes], warnings)


def _write(path: Path, text: str) -> None:
    Storage.open(path.parent.absolute()).write_bytes(text.encode(), path.name)


def _study_text(card: Card, data: Path, candidates: Sequence[Candidate]) -> str:
    names = [candidate.name for candidate in candidates]
    asked = f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else f"{names[0]} or none at all"
    baseline = IMAGENET if IMAGENET in names else names[0] if len(names) > 1 else "random"
    null = next((c for c in candidates if c.backbone.startswith(_PLAIN) or "efficientnet" in c.backbone), None)
    checkpoints = {"random": {"backbone": null.backbone if null else "resnet50"}}
    lines = [
        f"# {card.title or card.name}: which weights? Written by `raysweep new`; every key can be changed.",
        written_line("name", f"{card.name}-study"),
        written_line("question", f"{asked}: which pretraining is worth it for {card.title or card.name}?"),
        "storage: runs                  # below the folder that raysweep is called in",
        written_line("data", data.as_posix()),
        "",
        "checkpoints:",
        f"  {written_line('random', checkpoints['random'])}    # no pretraining: what the labels do alone",
        *(f"  {written_line(candidate.name, candidate.keys)}" for candidate in candidates),
        "",
        written_line("tasks", [card.name]),
        "",
        "transfer:",
        *(f"  {line}" for line in _transfer(card)),
        "",
        "compare:",
        f"  {written_line('baseline', baseline)}",
        f"  primary: {{protocol: {_first(card)}}}",
        "  margin: 0.02                 # differences smaller than this do not matter",
        "  alpha: 0.05",
    ]
    return "\n".join(lines) + "\n"


def _first(card: Card) -> str:
    return "linear" if card.kind == "classification" else "finetune"


def _transfer(card: Card) -> list[str]:
    """The cheapest protocols that answer; what to do next as comments."""
    gpu = bool(machine()["gpu"])
    if card.kind == "classification":
        fractions = [0.3, 1.0] if (card.n_images or 0) >= _FEW else [1.0]
        return [
            "protocols: [linear, knn]     # on frozen features, which each checkpoint computes once: minutes",
            "# protocols: [linear, knn, finetune]    # the next question, hours on a GPU: with it `budget: light`,",
            "# budget: light                         # and compare.primary: {protocol: finetune}",
            f"fractions: {fractions}     # of the training images",
            "repeats: 6                   # each with its own draw of labels and its own choice of settings",
        ]
    if gpu:
        return [
            "protocols: [finetune]        # a decoder draws masks, and has to be trained: no protocol is frozen",
            "budget: light                # a first look; `full` is for what is to be published",
            "# decoder: unet              # default: a U-Net, or `light` where a checkpoint has no pyramid of features",
        ]
    return [
        "protocols: [finetune]        # a decoder draws masks, and has to be trained: no protocol is frozen",
        "decoder: light               # a small head; `auto` is a U-Net where every checkpoint can have one",
        "repeats: 3",
        "trials: 2                    # these four are what processors can do in minutes; on a GPU: `budget: light`",
        "steps: 40",
        "evaluations: 2",
        "batch: 8",
    ]
