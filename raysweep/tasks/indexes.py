"""What was found of a labelled set's files, kept in the user's folder for the next command that looks at them."""

from pathlib import Path

import pyarrow as pa

from raysweep.errors import RequestError, WorkError
from raysweep.local_path import user_folder
from raysweep.storage import MANIFEST, Storage, fingerprint
from raysweep.tasks.card import Card
from raysweep.tasks.find import find_root
from raysweep.tasks.layouts import layout_of
from raysweep.tasks.task import FORMAT, Task, index_task


def indexed_task(card: Card, data: Path, study: Storage | None = None) -> Task:
    """The card's samples, of which only files that are new or changed are read.

    data: the folder that the set's own folder stands in. study: the task's folder in a study, which holds an index
    once the study ran. What it has not is kept on this machine, in `~/.raysweep/cache/indexes` (or below
    RAYSWEEP_HOME), so that each image is decoded once, by whichever of `prepare`, `show`, `plan` and `run` comes first.
    It saves time and nothing else: a file with another size or time is read again whoever remembers it.
    Raises RequestError for files that are not what the card says.
    """
    if card.own_set:  # its files are in one place, of this study alone
        return index_task(card, data, known=_of_study(study, data), home=study)
    place = _place(card, data)
    known = _load(place, data) or _of_study(study, data)
    task = index_task(card, data, known=known)
    before = {id(seen) for seen in known.examined} if known else set()
    if not all(id(seen) in before for seen in task.examined):
        _save(task, place)
    return task


def keep_prepared(card: Card, data: Path) -> None:
    """Remember where a card was prepared. A folder of the user's that cannot be written is passed by."""
    try:
        _prepared().write_json({"data": str(data.absolute())}, f"{card.name}.json")
    except (OSError, WorkError):  # `show` asks for --data then
        return


def last_prepared(card: Card) -> Path | None:
    """The `data` folder that a card was prepared in last; None where there is none, or the set is there no more."""
    try:
        data = Path(_prepared().read_json(f"{card.name}.json")["data"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return data if find_root(card, data).is_dir() else None


def _prepared() -> Storage:
    return Storage.open(user_folder() / "prepared")


def _place(card: Card, data: Path) -> Storage:
    """By what decides which files are read and how: cards that differ elsewhere share it."""
    layout, options = layout_of(card)
    asked = {"root": str(find_root(card, data).absolute()), "kind": card.kind, "classes": card.classes,
             "layout": layout.name, "options": options.model_dump(mode="json"), "format": FORMAT}  # fmt: skip
    return Storage.open(user_folder() / "cache").at("indexes", fingerprint(asked))


def _of_study(study: Storage | None, data: Path) -> Task | None:
    if study is None or not study.exists("current"):
        return None
    folder = study.at(study.read_bytes("current").decode().strip())
    return _load(folder, data) if folder.exists(MANIFEST) else None


def _load(place: Storage, data: Path) -> Task | None:
    try:
        return Task.load(place, data)
    except (OSError, ValueError, KeyError, TypeError, WorkError, RequestError, pa.ArrowException):
        return None  # there is none, or one that was damaged: all files are read


def _save(task: Task, place: Storage) -> None:
    try:
        task.save(place)
    except (OSError, WorkError):  # a folder that cannot be written: found out again next time
        return
