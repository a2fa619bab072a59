"""Searches under Ray Tune: processes are killed for real. Every outcome is compared with that of `simulate`."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import ray
from rich.console import Console

from raysweep.errors import WorkError
from raysweep.progress import Progress
from raysweep.sweep import board
from raysweep.sweep.cell import Cell
from raysweep.sweep.journal import Journal
from raysweep.sweep.run import Found, _resources
from raysweep.sweep.state import repeat_state
from raysweep.transfer.spec import TransferSpec
from tests.sweep.toy import events, outcome, simulate, toy_cells, toy_search

TRANSFER = TransferSpec(trials=7, repeats=2, steps=40, evaluations=4)
KEYS = {"checkpoints": "a", "folds": 2, "fails_above": 0.03, "pace": 0.02}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list:
    cells = toy_cells(tmp_path_factory.mktemp("undisturbed"), TRANSFER, **KEYS)
    assert simulate(cells, TRANSFER) == {}
    return outcome(cells)


def _folders(cells: list[Cell]) -> list[Path]:
    return [Path(repeat.artefact.folder.root) for cell in cells for repeat in cell.repeats]


def _done(cells: list[Cell]) -> bool:
    return all(repeat.artefact.done() for cell in cells for repeat in cell.repeats)


def _lines(cells: list[Cell]) -> int:
    files = [f for folder in _folders(cells) for f in folder.glob("journal/*.jsonl")]
    return sum(f.read_bytes().count(b"\n") for f in files)


@pytest.mark.slow
def test_deaths_failures_and_all_that_goes_on(
    tmp_path: Path,
    ray_session: None,
    undisturbed: list,
    capfd: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One search of cells: good, with two deaths, always dying, without its data, never training to the end."""
    monkeypatch.setattr(board, "ATTEMPTS", 2)
    marker, early = tmp_path / "die", tmp_path / "early"
    marker.touch()
    good = toy_cells(tmp_path, TRANSFER, **KEYS)
    once = toy_cells(tmp_path, TRANSFER, checkpoints="c", dies=str(marker), dies_early=str(early))
    always = toy_cells(tmp_path, TRANSFER, checkpoints="d", dies="always")
    diverges = toy_cells(tmp_path, TRANSFER, checkpoints="e", fails_above=0.0)
    without = toy_cells(tmp_path, TRANSFER, checkpoints="f", needs=str(tmp_path / "data"))
    appended = Journal.append

    def append(journal: Journal, event: dict) -> None:
        if event == {"event": "asked", "final": 0} and "/c/" in journal.folder.root and not dead:
            early.touch()  # its process dies before the final begins
            dead.append(event)
        appended(journal, event)

    dead: list[dict] = []
    monkeypatch.setattr(Journal, "append", append)
    cells = [*always, *once, *without, *diverges, *good]
    found = toy_search(cells, TRANSFER, at_once=2, scratch=tmp_path / "scratch")

    assert found.left == []
    assert found.failed == [f"{name}/toy-task/toy/1 repeat {repeat}" for name in "df" for repeat in (0, 1)]
    assert outcome(good) == undisturbed

    assert not marker.exists()
    assert not early.exists()
    lost = [{k: e[k] for k in e if k != "reason"} for e in events(once[0]) if e["event"] == "lost"]
    assert lost == [{"event": "lost", "trial": 0}, {"event": "lost", "final": 0}]
    calm = toy_cells(tmp_path / "calm", TRANSFER, checkpoints="c")
    simulate(calm, TRANSFER)
    values = [[(t["status"], t["value"], len(t["evaluations"])) for t in outcome(c)[0]] for c in (once, calm)]
    assert values[0] == values[1]  # what the dead attempt reported does not count

    for cell, why in ((always[0], "its process died: "), (without[0], f"FileNotFoundError: {tmp_path}/data is gone")):
        for repeat in (0, 1):
            lost = [e["trial"] for e in events(cell, repeat) if e["event"] == "lost"]
            assert lost == [0, 0]
            assert "told" not in {e["event"] for e in events(cell, repeat)}  # no failure of the setting
            reason = repeat_state(cell.repeats[repeat].artefact.folder).reason
            assert reason.startswith(f"trial 0: 2 attempts were lost, the last: {why}")
    assert {r["reason"] for r in outcome(diverges)[1]} == {"all 7 trials failed; the first: lr 0.001 is too high"}

    said = capfd.readouterr()
    lines = [line for line in (said.out + said.err).splitlines() if "(raylet)" not in line]  # it tells of dead workers
    assert lines == []  # Tune says nothing


def test_a_search_ends_with_an_error_when_its_journal_cannot_be_written(
    tmp_path: Path, ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = toy_cells(tmp_path, TRANSFER, checkpoints="a")

    def full(journal: Journal, event: dict) -> None:
        if event["event"] == "reported":
            raise WorkError("no space left on device")
        append(journal, event)

    append = Journal.append
    monkeypatch.setattr(Journal, "append", full)
    with pytest.raises(WorkError, match="no space left"):
        toy_search(cells, TRANSFER, at_once=1, scratch=tmp_path)


def _drive(folder: Path, until: Callable[[list[Cell]], bool], kill: Callable[[subprocess.Popen], None]) -> None:
    """Run the search in a driver of its own and kill something once `until` holds."""
    wanted = {"folder": str(folder), "transfer": TRANSFER.model_dump(mode="json"), "cells": KEYS,
              "address": ray.get_runtime_context().gcs_address, "at_once": 2}  # fmt: skip
    (folder / "wanted.json").write_text(json.dumps(wanted))
    cells = toy_cells(folder, TRANSFER, **KEYS)
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen([sys.executable, "-m", "tests.sweep.toy", str(folder / "wanted.json")],
                                   stdout=log, stderr=log, cwd=Path(__file__).parents[2])  # fmt: skip
    deadline = time.monotonic() + 400
    while not until(cells):
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    kill(process)
    process.wait(timeout=60)


def _kill_driver(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)


def _enough(lines: int) -> Callable[[list[Cell]], bool]:
    return lambda cells: _lines(cells) >= lines


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_driver_killed_at_many_moments(tmp_path: Path, ray_session: None, undisturbed: list) -> None:
    cells = toy_cells(tmp_path, TRANSFER, **KEYS)
    for lines in (1, 45, 90):
        if _lines(cells) < lines:
            _drive(tmp_path, _enough(lines), _kill_driver)
    assert not _done(cells)
    toy_search(cells, TRANSFER, at_once=4, scratch=tmp_path / "scratch")
    assert outcome(cells) == undisturbed


@pytest.mark.long
@pytest.mark.timeout(900)
def test_killed_while_finals_are_written(tmp_path: Path, ray_session: None, undisturbed: list) -> None:
    def predicted(cells: list[Cell]) -> bool:
        return any(any(folder.glob("parts/*")) for folder in _folders(cells))

    _drive(tmp_path, predicted, _kill_driver)
    cells = toy_cells(tmp_path, TRANSFER, **KEYS)
    toy_search(cells, TRANSFER, at_once=2, scratch=tmp_path / "scratch")
    assert outcome(cells) == undisturbed


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_trial_processes_killed_by_pid(tmp_path: Path, ray_session: None, undisturbed: list) -> None:
    cells = toy_cells(tmp_path, TRANSFER, **KEYS)
    killed: list[int] = []
    done = threading.Event()

    def killer() -> None:
        while not done.is_set() and len(killed) < 3:
            time.sleep(0.01)
            if _lines(cells) >= 20 * (len(killed) + 1):
                for process in psutil.Process().children(recursive=True):
                    if process.pid not in killed and "ray::ResourceTrainable" in " ".join(_command(process)):
                        process.kill()
                        killed.append(process.pid)
                        break

    thread = threading.Thread(target=killer)
    thread.start()
    try:
        assert toy_search(cells, TRANSFER, at_once=2, scratch=tmp_path / "scratch") == Found()
    finally:
        done.set()
        thread.join()
    assert killed
    assert outcome(cells) == undisturbed


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it ended meanwhile
        return []


def test_an_interrupted_search_says_so(tmp_path: Path, ray_session: None) -> None:
    cells = toy_cells(tmp_path, TRANSFER, **(KEYS | {"pace": 0.2}))

    def interrupt() -> None:
        while _lines(cells) < 8:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    shown = Progress(Console(file=io.StringIO(), force_terminal=True))  # a live display: nothing of it can be pickled
    with pytest.raises(KeyboardInterrupt):
        toy_search(cells, TRANSFER, at_once=1, scratch=tmp_path / "scratch", progress=shown)
    assert "search" in shown.console.file.getvalue()  # type: ignore[attr-defined]
    thread.join()


@pytest.mark.parametrize(
    ("cluster", "threads", "at_once", "expected"),
    [
        ({"CPU": 8.0}, 2, None, ({"cpu": 2.0}, 4)),
        ({"CPU": 2.0}, 4, None, ({"cpu": 2.0}, 1)),
        ({"CPU": 2.0}, 1, 4, ({"cpu": 0.5}, 4)),
        ({"CPU": 16.0, "GPU": 1.0}, 2, 4, ({"cpu": 2.0, "gpu": 0.25}, 4)),
        ({"CPU": 16.0, "GPU": 4.0}, 2, None, ({"cpu": 2.0, "gpu": 1.0}, 4)),
        ({"CPU": 64.0, "GPU": 8.0}, 2, 12, ({"cpu": 2.0, "gpu": 0.5}, 12)),
        ({"CPU": 4.0, "GPU": 4.0}, 2, 2, ({"cpu": 2.0, "gpu": 1.0}, 2)),
    ],
)
def test_what_is_set_aside_for_a_trial(monkeypatch, cluster, threads, at_once, expected) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: cluster)
    assert _resources(threads, at_once) == expected
