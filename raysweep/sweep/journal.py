"""The truth about a search: an append-only journal, on disk before anything is done about it."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raysweep.errors import WorkError
from raysweep.storage import Storage

Event = dict[str, Any]


class Journal:
    """Events of one search in order. One writer; readers may look at any time.

    On a local disk a journal is one file of JSON lines, `<folder>/<name>.jsonl`. Objects cannot be appended to,
    so elsewhere each event is an object of its own, `<folder>/<name>/00000000.json` and so on.
    """

    def __init__(self, folder: Storage, name: str) -> None:
        self.folder, self.name = folder, name
        self._length: int | None = None  # events there are; None: not looked yet

    def append(self, event: Event) -> None:
        """Write an event; it survives a kill or a loss of power once this returns.

        Raises WorkError when it cannot be written.
        """
        if self._length is None:
            self._length = len(self.read())
            if self.folder.is_local:
                self._drop_torn_line()
        data = _line(event)
        if self.folder.is_local:
            self._append_line(data)
        else:
            self.folder.write_bytes(data, self.name, f"{self._length:08d}.json")
        self._length += 1

    def begin(self, events: Sequence[Event]) -> None:
        """Write the first events of a journal that has none. Raises WorkError when they cannot be written."""
        if self.folder.is_local:
            self.folder.write_bytes(b"".join(map(_line, events)), f"{self.name}.jsonl")
            self._length = len(events)
        else:
            for event in events:
                self.append(event)

    def read(self) -> list[Event]:
        """All events. A last line that a kill tore is dropped; WorkError for damage anywhere else."""
        if self.folder.is_local:
            if not self._file.exists():
                return []
            lines = self._file.read_bytes().split(b"\n")[:-1]  # what follows the last newline is torn
        else:
            names = [name for name in self.folder.names(self.name) if name.endswith(".json")]
            lines = [self.folder.read_bytes(self.name, name) for name in names]
        events = []
        for number, line in enumerate(lines):
            try:
                events.append(json.loads(line))
            except ValueError as error:
                place = self.folder.path(self.name)
                raise WorkError(f"{place}: event {number} is damaged; remove the repeat's folder to redo it") from error
        return events

    @property
    def _file(self) -> Path:
        return Path(self.folder.path(f"{self.name}.jsonl"))

    def _append_line(self, data: bytes) -> None:
        try:
            created = not self._file.exists()
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with open(self._file, "ab") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if created:
                _sync_folder(self._file.parent)
        except OSError as error:
            raise WorkError(f"{self._file}: cannot be written ({error.strerror or error})") from error

    def _drop_torn_line(self) -> None:
        if not self._file.exists():
            return
        data = self._file.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(self._file, whole)


def _line(event: Event) -> bytes:
    return (json.dumps(event, separators=(",", ":")) + "\n").encode()


def _sync_folder(folder: Path) -> None:
    """Make the name of a new file durable, as fsync of the file does its content."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def journal_names(folder: Storage) -> list[str]:
    """Names of the journals in a folder, in the order of their numbers."""
    names = {name.removesuffix(".jsonl") for name in folder.names()}
    return sorted(names, key=lambda name: (len(name), name))
