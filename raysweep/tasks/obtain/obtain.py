"""A data set's files below its root: fetched, checked and unpacked, each once."""

import fcntl
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from raysweep.errors import RequestError, WorkError
from raysweep.progress import Progress, Stage
from raysweep.secrets import redacted
from raysweep.tasks.card import Card
from raysweep.tasks.find import find_samples
from raysweep.tasks.obtain.fetch import fetch, problem
from raysweep.tasks.obtain.spec import Download, RemoteFile
from raysweep.tasks.obtain.unpack import unpack

_WORK = ".raysweep"  # below the root, for what is half done; hidden, so no part of any set
_RECORD = "obtained.json"
_AT_ONCE = 4  # files that are fetched together
_MB = 10**6


def obtain(card: Card, root: Path, progress: Progress) -> list[str]:
    """Bring the files of a card's `download` to their places below the root, and say what was done, a line each.

    A file that was brought before is left alone, and so is a set that is whole already. Ctrl-C and errors leave what
    has arrived; the next call goes on. Raises RequestError for a card without `download`, WorkError for what cannot be
    had, with the page to go to and the folder to put it in.
    """
    if card.download is None:
        raise RequestError(
            f"card {card.name}: says nothing of a download; get the set ({card.source}) and put it at {root}"
        )
    try:
        (root / _WORK).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkError(f"{root}: cannot be written ({error.strerror}); name another folder as --data") from error
    with _alone(root / _WORK / "lock", card):
        record = _Record(root / _WORK / _RECORD)
        missing = [file for file in card.download.files if not record.has(file, root)]
        if not missing:
            return ["everything was downloaded before"]
        if not record.known and _whole(card, root):
            return ["the set is there already, so nothing is downloaded"]
        by_hand = {file.name: found for file in missing if (found := _put_there(file, root))}
        _ask_for(card, card.download, missing, by_hand, root)
        _check_room(missing, by_hand, root)
        return _bring(missing, by_hand, root, record, progress, card.name)


@contextmanager
def _alone(path: Path, card: Card) -> Iterator[None]:
    with open(path, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise WorkError(
                f"card {card.name}: another process is preparing it in {path.parent.parent}; wait"
            ) from error
        yield


class _Record:
    """Which files were brought, and what the card said of each."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        try:
            self.known: dict[str, Any] = dict(json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            self.known = {}

    def has(self, file: RemoteFile, root: Path) -> bool:
        same = self.known.get(file.name) == _told(file)
        return same and (file.unpack is not None or (root / file.name).is_file())

    def add(self, file: RemoteFile) -> None:
        with self._lock:
            self.known[file.name] = _told(file)
            temporary = self._path.with_name(f"{self._path.name}.new")
            temporary.write_text(json.dumps(self.known, indent=1))
            os.replace(temporary, self._path)


def _told(file: RemoteFile) -> dict[str, Any]:
    """What a card says of a file; of its address, no token."""
    return dict(redacted(file.model_dump(mode="json")))


def _whole(card: Card, root: Path) -> bool:
    """Whether a person has put the whole set there: as many images as the card says, each with its file."""
    if card.n_images is None:
        return False
    try:
        samples = find_samples(card, root)
    except RequestError:
        return False
    return all((root / (sample.image.rpartition("#")[0] or sample.image)).exists() for sample in samples)


def _put_there(file: RemoteFile, root: Path) -> Path | None:
    """A file that a person has put below the root, or beside it."""
    return next((place for place in (root / file.name, root.parent / file.name) if place.is_file()), None)


def _ask_for(card: Card, said: Download, missing: list[RemoteFile], by_hand: dict[str, Path], root: Path) -> None:
    wanted = [file for file in missing if file.url is None and file.name not in by_hand]
    if wanted:
        names = ", ".join(f"{file.name} ({file.size / _MB:,.0f} MB)" if file.size else file.name for file in wanted)
        raise WorkError(
            f"card {card.name}: its files are given out on {said.page}, by hand; put {names} into {root}, then run the "
            "same command again"
        )


def _check_room(missing: list[RemoteFile], by_hand: dict[str, Path], root: Path) -> None:
    """Refuse what cannot fit before any of it is fetched: the files, and as much again, at least, of an archive."""
    need = 0
    for file in missing:
        size = file.size or 0
        need += 0 if file.name in by_hand else size
        need += (file.unpacked or size) if file.unpack is not None else 0
    free = shutil.disk_usage(root).free
    if need > free:
        raise WorkError(
            f"{root}: about {need / 1e9:,.1f} GB are needed to fetch and unpack the set, and {free / 1e9:,.1f} GB are "
            "free; make room, or name another folder as --data"
        )


def _bring(
    missing: list[RemoteFile], by_hand: dict[str, Path], root: Path, record: _Record, progress: Progress, name: str
) -> list[str]:
    sizes = [file.size for file in missing if file.name not in by_hand]
    total = None if None in sizes else sum(size or 0 for size in sizes) // _MB
    stop = threading.Event()
    said: dict[str, str] = {}
    with progress.stage(f"{name}: download", total, "MB") as stage:
        tell = _megabytes(stage)

        def bring(file: RemoteFile) -> None:
            said[file.name] = _one(file, by_hand.get(file.name), root, tell, stop)
            record.add(file)

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            jobs = [pool.submit(bring, file) for file in missing]
            try:
                for job in jobs:
                    job.result()
            except BaseException:
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    return [said[file.name] for file in missing]


def _one(file: RemoteFile, by_hand: Path | None, root: Path, tell: Callable[[int], None], stop: threading.Event) -> str:
    if by_hand is not None:
        if wrong := problem(file, by_hand):
            raise WorkError(f"{by_hand}: {wrong}: it is another file, or another version; put the right one there")
        path = by_hand
    else:
        path = fetch(file, root / _WORK, tell=tell, stop=stop)
    checked = "checksum right" if file.sha256 or file.md5 else "size right" if file.size else "no checksum is known"
    size = path.stat().st_size / _MB
    if file.unpack is None:
        target = root / file.name
        if path != target:
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target) if by_hand is None else shutil.copyfile(path, target)
        return f"{file.name}: {size:,.1f} MB, {checked}"
    assert file.archive is not None
    work = root / _WORK / f"{file.name.replace('/', '--')}.d"
    count = unpack(
        path, file.archive, root / file.unpack, work, most_bytes=file.unpacked, tell=lambda n: None, stop=stop
    )
    shutil.rmtree(work, ignore_errors=True)
    if by_hand is None:
        path.unlink()
    return f"{file.name}: {size:,.1f} MB, {checked}, {count:,} files unpacked"


def _megabytes(stage: Stage) -> Callable[[int], None]:
    """Tell a stage of bytes, as whole megabytes; several threads may."""
    lock, held = threading.Lock(), 0

    def tell(n: int) -> None:
        nonlocal held
        with lock:
            held += n
            whole = held // _MB
            if whole:
                held -= whole * _MB
                stage.advance(whole, bytes=max(0, whole * _MB))

    return tell
