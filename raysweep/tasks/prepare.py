"""Check a downloaded data set against its card, and remember whose licence was accepted."""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from raysweep.errors import RequestError, WorkError, reason_of
from raysweep.local_path import user_folder
from raysweep.progress import Progress
from raysweep.storage import Storage
from raysweep.tasks.card import Card
from raysweep.tasks.find import find_root
from raysweep.tasks.indexes import indexed_task, keep_prepared
from raysweep.tasks.obtain.obtain import obtain
from raysweep.tasks.oddities import Oddities, find_oddities
from raysweep.tasks.splits import folds
from raysweep.tasks.task import Task


@dataclass(frozen=True)
class Summary:
    """What `prepare` found. As text: one fact per line, what a person should look at after it, images left out last."""

    card: str
    root: Path
    n_images: int
    n_units: int
    unit: str
    per_class: dict[str, int]
    test_sizes: list[int]
    oddities: Oddities
    excluded: list[tuple[str, str]]

    def __str__(self) -> str:
        classes = ", ".join(f"{name} {count}" for name, count in self.per_class.items())
        tests = ", ".join(map(str, self.test_sizes))
        of = "" if self.unit == "image" else f" of {self.n_units} {self.unit}s"
        lines = [
            f"{self.card}: {self.n_images} images{of} in {self.root}",
            f"images with each class: {classes}",
            f"images tested with seed 0: {tests}",
            *self.oddities.lines(),
        ]
        if self.excluded:
            lines.append(f"{len(self.excluded)} cannot be used:")
            lines += [f"  {name}: {reason}" for name, reason in self.excluded]
        return "\n".join(lines)


def prepare(
    card: Card, data: Path, accept: bool, *, download: bool = False, progress: Progress | None = None
) -> Summary:
    """Index the card's folder below `data`, decoding every file; with `accept`, record its licence as accepted.

    The index is kept (`indexed_task`): the next look at the folder, by this or by a study, reads what has changed.
    download: first fetch and unpack what the card's `download` names and is not there. Raises RequestError when a
    restricted licence is not accepted, or when the folder is not what the card says; and as `obtain`.
    """
    if accept:
        _record(card)
    elif not licence_accepted(card):
        where = f" ({card.licence.url})" if card.licence.url else ""
        raise RequestError(
            f"card {card.name}: its licence is {card.licence.name}{where}; read it, then add --accept-licence"
        )
    progress = progress or Progress(quiet=True)
    if download:
        for line in obtain(card, find_root(card, data), progress):
            progress.say(f"{card.name}: {line}")
    task = indexed_task(card, data)
    keep_prepared(card, data)
    return _summary(task)


def licence_accepted(card: Card) -> bool:
    """Whether nothing stands in the way of using the data: the licence is free, or was accepted as it reads now."""
    if not card.licence.restricted:
        return True
    try:
        saved = json.loads(_acceptance(card).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(saved, dict) and saved.get("licence") == card.licence.name


def _acceptance(card: Card) -> Path:
    return user_folder() / "licences" / f"{card.name}.json"


def _record(card: Card) -> None:
    if not card.licence.restricted:
        return
    path = _acceptance(card)
    accepted = datetime.now(UTC).isoformat(timespec="seconds")
    record = {"card": card.name, "licence": card.licence.name, "url": card.licence.url, "accepted": accepted}
    try:
        Storage.open(path.parent).write_json(record, path.name)
    except (OSError, WorkError) as error:
        raise WorkError(
            f"{reason_of(error)}: accepted licences are noted there; set RAYSWEEP_HOME to a folder of yours, or have "
            f"accept_licences: [{card.name}] in the study"
        ) from error


def _summary(task: Task) -> Summary:
    shown = Counter(c for sample in task.samples for c in sample.classes)
    return Summary(
        card=task.card.name,
        root=task.root,
        n_images=len(task.samples),
        n_units=len({sample.unit for sample in task.samples}),
        unit=task.card.unit,
        per_class={name: shown[index] for index, name in enumerate(task.card.classes)},
        test_sizes=[len(fold.test) for fold in folds(task, seed=0)],
        oddities=find_oddities(task),
        excluded=list(task.excluded),
    )
