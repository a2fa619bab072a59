"""How far a search is, and watching it."""

import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from raysweep.storage import Storage
from raysweep.study import watch
from raysweep.study.run import Outcome
from raysweep.study.search_progress import CellProgress, search_progress, time_left
from raysweep.sweep.history import TrialRecord
from raysweep.transfer.spec import TransferSpec
from tests.sweep.toy import Killed, events, simulate, toy_cells

TRANSFER = TransferSpec(trials=3, repeats=2, steps=10, evaluations=2, early_stopping="none")
TASKS = {"toy-task": SimpleNamespace(n_folds=2)}


def _look(cells: list, *, running: bool = True, transfer: TransferSpec = TRANSFER) -> list[CellProgress]:
    return search_progress(cells, transfer, TASKS, running=running)


def test_a_search_from_its_beginning_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrialRecord, "seconds", 100.0)
    cells = toy_cells(tmp_path, TRANSFER, checkpoints="ab", folds=2)
    a, b = _look(cells)
    assert (a.state, a.repeats, a.trials, a.best, a.seconds) == ("waiting", (0, 2), (0, 12), None, None)
    assert (a.words(), time_left([a, b])) == ("0/2 repeats", "")
    with pytest.raises(Killed):
        simulate(cells, TRANSFER, at_once=2, events=16)
    a, b = _look(cells)
    told = [e for fold in (0, 1) for e in events(cells[0], fold=fold) if e["event"] == "told"]
    assert told
    assert (a.state, a.trials, b.state) == ("running", (len(told), 12), "waiting")
    assert a.running in (1, 2)
    assert a.select == "val_loss"
    values = [[e["value"] for e in events(cells[0], fold=fold) if e["event"] == "told"] for fold in (0, 1)]
    best = [min(v) for v in values if v]
    assert a.best == pytest.approx(sum(best) / len(best))
    assert a.seconds == 100 * (12 - len(told) + 4)
    assert b.seconds == 100 * (12 + 4)  # as long as those of others take
    assert f"{len(told)}/12 trials, best loss on val {a.best:.3g}, " in a.words()
    assert a.words().endswith(" min of trials left")
    assert time_left([a, b]).endswith(f" min of search left, {a.running} trial{'s' * (a.running > 1)} at once")
    dead = _look(cells, running=False)[0]
    assert (dead.state, dead.reason, dead.running) == ("dead", "begun; run the study again to go on", 0)
    assert time_left([dead]).endswith("one trial after another")
    simulate(cells, TRANSFER)
    for cell in _look(cells, running=False):
        assert (cell.state, cell.repeats, cell.trials, cell.seconds) == ("done", (2, 2), (12, 12), 0.0)
        assert cell.words().startswith("2/2 repeats, 12/12 trials, best loss on val ")
    assert time_left(_look(cells)) == ""


def test_one_search_for_all_and_failures(tmp_path: Path) -> None:
    once = TRANSFER.model_copy(update={"search": "once"})
    cells = toy_cells(tmp_path, once, checkpoints="a", folds=2, fails_above=0.0)
    assert _look(cells, transfer=once)[0].trials == (0, 6)
    simulate(cells, once)
    (cell,) = _look(cells, transfer=once)
    assert cell.words() == "2/2 repeats, 6/6 trials, 6 failed"
    cells[0].repeats[0].artefact.folder.remove("manifest.json")
    cells[0].repeats[0].artefact.folder.write_json({"reason": "no space"}, "failed.json")
    (cell,) = _look(cells, transfer=once)
    assert (cell.state, cell.reason) == ("failed", "no space")


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list:
    """A study whose search moves on by one look at a time."""
    first = CellProgress("a / t / finetune / 1", "running", "", (0, 1), (1, 4), 0, 0, 2, 0.5, "val_metric", 600.0)
    second = replace(first, name="b / t / [x] / 1", state="waiting", trials=(0, 4), best=None, running=0)
    looks = [
        [first, second],
        [replace(first, trials=(2, 4)), second],
        [replace(first, state="done", seconds=0.0), replace(second, state="done", failed=1, seconds=0.0)],
    ]
    graph = SimpleNamespace(
        home=None, cells=[], tasks={}, choices=[], checkpoints={}, study=SimpleNamespace(transfer=TRANSFER)
    )
    monkeypatch.setattr(watch, "load_study", lambda ref, overrides: None)
    monkeypatch.setattr(watch, "build_graph", lambda file: graph)
    monkeypatch.setattr(watch, "holders", lambda home: [{}])
    monkeypatch.setattr(watch, "search_progress", lambda *_, **__: looks.pop(0))
    monkeypatch.setattr(watch.time, "sleep", lambda seconds: None)
    return looks


def test_watching_in_a_log_says_what_has_changed(watched: list) -> None:
    console = Console(file=io.StringIO(), width=200)
    watch.watch_study("s.yaml", [], console)
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "search: 0/2 cells · 1/8 trials · about 10 min of search left, 2 trials at once",
        "a / t / finetune / 1: running, 0/1 repeats, 1/4 trials, best on val 0.5, 10 min of trials left",
        "b / t / [x] / 1: waiting, 0/1 repeats, 10 min of trials left",
        "search: 0/2 cells · 2/8 trials · about 10 min of search left, 2 trials at once",
        "a / t / finetune / 1: running, 0/1 repeats, 2/4 trials, best on val 0.5, 10 min of trials left",
        "search: 2/2 cells · 1/8 trials · 1 failed",
        "a / t / finetune / 1: done, 0/1 repeats, 1/4 trials, best on val 0.5",
        "b / t / [x] / 1: done, 0/1 repeats",
    ]


def test_watching_on_a_terminal_draws_the_table_over_itself_and_ends_when_nobody_runs(watched, monkeypatch) -> None:
    shown = Console(file=io.StringIO(), force_terminal=True, width=120, height=30)
    watch.watch_study("s.yaml", [], shown)
    assert "b / t / [x] / 1" in shown.file.getvalue()  # type: ignore[attr-defined]
    assert watched == []
    watched.append([CellProgress("a", "dead", "", (0, 1), (1, 4), 0, 0, 0, None, "")] * 9)
    monkeypatch.setattr(watch, "holders", lambda home: [])
    small = Console(file=io.StringIO(), force_terminal=True, width=120, height=8)
    watch.watch_study("s.yaml", [], small)
    text = small.file.getvalue()  # type: ignore[attr-defined]
    assert "nobody is running it" in text
    assert "... and 5 more" in text


def test_what_a_run_says_of_failures_and_of_what_it_left() -> None:
    home = Storage.open("/nowhere")
    assert Outcome(home).lines() == []
    said = Outcome(home, failures=[f"cell {i}: no" for i in range(22)], left=[f"r{i}" for i in range(5)]).lines()
    assert said[0] == "failed: cell 0: no"
    assert said[20:] == [
        "... and 2 more: `raysweep status` lists them",
        "left for the next run, as compute.stop_after_... says: 5 repeats (r0, r1, r2 ...)",
    ]
    assert Outcome(home, left=["r0"]).lines() == [
        "left for the next run, as compute.stop_after_... says: 1 repeat (r0)"
    ]
