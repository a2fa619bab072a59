"""What was found of a labelled set's files: kept by a run in the study, and by any command in the user's folder."""

from pathlib import Path

import pyarrow as pa

from raysweep.errors import RequestError, WorkError
from raysweep.storage import MANIFEST, Storage, fingerprint
from raysweep.study.remembered import user_cache
from raysweep.tasks.card import Card
from raysweep.tasks.find import find_root
from raysweep.tasks.layouts import layout_of
from raysweep.tasks.prepared import find_prepared
from raysweep.tasks.task import FORMAT, Task, index_task


def indexed_task(card: Card, data: str, home: Storage) -> Task:
    """The card's samples, of which only files that are new or changed are read.

    data: the folder that the set's own folder stands in. home: the task's folder in the study, which holds an index
    once the study ran; `datasets prepare` keeps one as well. What neither has is kept on this machine, in
    `~/.raysweep/cache/indexes` (or below RAYSWEEP_HOME), so that each `plan` before the run does not decode every image:
    it saves time and nothing else, since a file with another size or time is read again whoever remembers it.
    Raises RequestError for files that are not what the card says.
    """
    place = _place(card, data)
    known = _load(place, data) or _of_study(home, data) or find_prepared(card, Path(data))
    task = index_task(card, Path(data), known=known)
    before = {id(seen) for seen in known.examined} if known else set()
    if not all(id(seen) in before for seen in task.examined):
        _save(task, place)
    return task


def _place(card: Card, data: str) -> Storage:
    """By what decides which files are read and how: cards that differ elsewhere share it."""
    layout, options = layout_of(card)
    asked = {"root": str(find_root(card, Path(data)).absolute()), "kind": card.kind, "classes": card.classes,
             "layout": layout.name, "options": options.model_dump(mode="json"), "format": FORMAT}  # fmt: skip
    return Storage.open(user_cache()).at("indexes", fingerprint(asked))


def _of_study(home: Storage, data: str) -> Task | None:
    if not home.exists("current"):
        return None
    folder = home.at(home.read_bytes("current").decode().strip())
    return Task.load(folder, data) if folder.exists(MANIFEST) else None


def _load(place: Storage, data: str) -> Task | None:
    try:
        return Task.load(place, data)
    except (OSError, ValueError, KeyError, TypeError, WorkError, RequestError, pa.ArrowException):
        return None  # there is none, or one that was damaged: all files are read


def _save(task: Task, place: Storage) -> None:
    try:
        task.save(place)
    except (OSError, WorkError):  # a folder that cannot be written: found out again next time
        return
