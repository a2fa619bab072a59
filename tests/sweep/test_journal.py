import json
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from raysweep.errors import WorkError
from raysweep.storage import Storage
from raysweep.sweep.journal import Journal, journal_names

EVENTS = [{"event": "asked", "trial": 0, "params": {"lr": 0.1}}, {"event": "told", "trial": 0, "value": float("inf")}]


def test_events_come_back_in_order_also_to_another_reader(tmp_path: Path) -> None:
    folder = Storage.open(tmp_path / "journal")
    journal = Journal(folder, "fold0")
    assert journal.read() == []
    for event in EVENTS:
        journal.append(event)
    assert journal.read() == Journal(folder, "fold0").read() == EVENTS
    assert Journal(folder, "fold1").read() == []


@pytest.mark.parametrize("torn", [b'{"event"', b'{"event":"told"}', b"\xc3"])
def test_a_torn_last_line_is_dropped_and_does_not_spoil_the_next(tmp_path: Path, torn: bytes) -> None:
    folder = Storage.open(tmp_path)
    Journal(folder, "fold0").append(EVENTS[0])
    with open(tmp_path / "fold0.jsonl", "ab") as file:
        file.write(torn)
    assert Journal(folder, "fold0").read() == EVENTS[:1]
    Journal(folder, "fold0").append(EVENTS[1])
    assert Journal(folder, "fold0").read() == EVENTS


def test_a_file_that_holds_only_a_torn_line(tmp_path: Path) -> None:
    (tmp_path / "fold0.jsonl").write_bytes(b'{"eve')
    journal = Journal(Storage.open(tmp_path), "fold0")
    journal.append(EVENTS[0])
    assert journal.read() == EVENTS[:1]


def test_damage_in_the_middle_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "fold0.jsonl").write_text('{"event":"a"}\n{"eve\n{"event":"b"}\n')
    with pytest.raises(WorkError, match=r"fold0: event 1 is damaged"):
        Journal(Storage.open(tmp_path), "fold0").read()


def test_objects_where_nothing_can_be_appended(tmp_path: Path) -> None:
    fs = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())  # not known to be a local disk
    folder = Storage(fs, "journal")
    fs.create_dir("journal/fold0")
    for event in EVENTS:
        Journal(folder, "fold0").append(event)  # a new writer each time, as after a restart
    assert [p.name for p in sorted((tmp_path / "journal/fold0").iterdir())] == ["00000000.json", "00000001.json"]
    assert json.loads((tmp_path / "journal/fold0/00000000.json").read_text()) == EVENTS[0]
    assert Journal(folder, "fold0").read() == EVENTS
    assert journal_names(folder) == ["fold0"]


def test_an_event_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file where the folder should be")
    with pytest.raises(WorkError, match="cannot be written"):
        Journal(Storage.open(tmp_path / "journal"), "fold0").append(EVENTS[0])


def test_names_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for fold in (10, 2, 0):
        Journal(Storage.open(tmp_path), f"fold{fold}").append(EVENTS[0])
    assert journal_names(Storage.open(tmp_path)) == ["fold0", "fold2", "fold10"]
