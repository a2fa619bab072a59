"""What `prepare` found of a set's files, kept for the next time: by card and folder, outside of both."""

import hashlib
import os
from pathlib import Path

from raysweep.storage import Storage
from raysweep.tasks.card import Card
from raysweep.tasks.find import find_root
from raysweep.tasks.task import Task

_PLACE = "place.json"


def keep_prepared(task: Task) -> None:
    """Keep a task's index. A folder of the user's that cannot be written is passed by: it only costs time."""
    folder = _home(task.card.name).at(_hash(task.root))
    task.save(folder)
    folder.write_json({"data": _data(task).as_posix()}, _PLACE)


def find_prepared(card: Card, data: Path) -> Task | None:
    """The index that was kept for a card's folder below `data`; files that have changed since are read again.

    None where there is none, or one that this version cannot read.
    """
    return _load(_home(card.name).at(_hash(find_root(card, data))), data)


def last_prepared(card: Card) -> Path | None:
    """The `data` folder that a card was prepared in last, where its set still is."""
    home = _home(card.name)
    places = [home.at(name) for name in home.names()]
    known = sorted(
        (Path(place.path(_PLACE)) for place in places if place.exists(_PLACE)), key=lambda p: p.stat().st_mtime
    )
    for path in reversed(known):
        data = Path(Storage.open(path.parent).read_json(_PLACE)["data"])
        if find_root(card, data).is_dir():
            return data
    return None


def _load(folder: Storage, data: Path) -> Task | None:
    try:
        return Task.load(folder, data) if folder.exists(_PLACE) else None
    except Exception:  # of another version: it is made anew
        return None


def _home(card: str) -> Storage:
    home = Path(os.environ.get("RAYSWEEP_HOME") or "~/.raysweep").expanduser()
    return Storage.open(home / "prepared" / card)


def _hash(root: Path) -> str:
    return hashlib.blake2b(os.fsencode(root.resolve()), digest_size=8).hexdigest()


def _data(task: Task) -> Path:
    """The folder that the root stands in, as the card has it."""
    depth = 0 if task.card.root == "." else len(Path(task.card.root).parts)
    root = task.root.absolute()
    return root if depth == 0 else root.parents[depth - 1]
