"""Finals on further test sets, and searches that are not repeated for them."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pyarrow.fs as pafs
import pytest

from raysweep.storage import Storage
from raysweep.sweep.cell import Cell
from raysweep.sweep.journal import Journal
from raysweep.sweep.reuse import search_key
from raysweep.transfer.spec import TransferSpec
from tests.sweep import toy
from tests.sweep.toy import Killed, Toy, events, outcome, simulate, toy_cells

TRANSFER = TransferSpec(trials=3, repeats=2, steps=40, evaluations=2)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds of all jobs that were started."""
    seeds: list[int] = []
    start = Toy.start
    monkeypatch.setattr(Toy, "start", lambda self, job: seeds.append(job.seed) or start(self, job))
    return seeds


def _rows(cell: Cell, repeat: int = 0) -> list[dict]:
    return cell.repeats[repeat].artefact.folder.read_table("final.parquet").to_pylist()


def _own(cell: Cell) -> list:
    """Trials of all repeats, and the rows and predictions of the task's own test set."""
    found = []
    for trials, rows, files in zip(*[iter(outcome([cell]))] * 3, strict=True):
        own = [{k: v for k, v in row.items() if k != "folder"} for row in rows if row["test_set"] == "toy-task"]
        found.append([trials, own, files["toy-task.parquet"]])
    return found


def test_a_value_is_the_mean_over_the_models_of_the_folds_never_of_pooled_rows(tmp_path: Path) -> None:
    (cell,) = toy_cells(tmp_path, TRANSFER, checkpoints="a", folds=3, test_sets=("far", "near"))
    assert simulate([cell], TRANSFER) == {}
    rows = _rows(cell)
    assert [(row["test_set"], row["metric"]) for row in rows] == [
        (test_set, metric) for test_set in ("toy-task", "far", "near") for metric in ("accuracy", "auroc")
    ]
    assert [(row["n_test_images"], row["n_test_units"]) for row in rows[::2]] == [(48, 24), (10, 5), (10, 5)]
    folder = cell.repeats[0].artefact.folder
    assert folder.names("predictions") == ["far.parquet", "near.parquet", "toy-task.parquet"]
    for accuracy, auroc in (rows[2:4], rows[4:]):
        table = folder.read_table(*accuracy["predictions"].split("/"))
        assert table.num_rows == 30
        by_hand = []
        for fold in range(3):
            part = [row for row in table.to_pylist() if row["fold"] == fold]
            assert len({row["sample"] for row in part}) == 10
            pairs = [(row["scores"][1], row["label"]) for row in part]
            of = {label: [score for score, own in pairs if own == label] for label in (0, 1)}
            wins = [(a > b) + (a == b) / 2 for a in of[1] for b in of[0]]
            by_hand.append((np.mean([(score > 0.5) == label for score, label in pairs]), np.mean(wins)))
        assert len(set(by_hand)) > 1
        assert (accuracy["value"], auroc["value"]) == pytest.approx(tuple(np.mean(by_hand, axis=0)))
    assert rows[2]["params"] == rows[0]["params"]


def test_a_final_that_fails_has_no_value_on_any_test_set(tmp_path: Path) -> None:
    (cell,) = toy_cells(tmp_path, TRANSFER, checkpoints="a", test_sets=("far",), final_fails="a")
    assert simulate([cell], TRANSFER) == {}
    assert [(row["test_set"], row["value"], row["reason"]) for row in _rows(cell)[::2]] == [
        ("toy-task", None, "the loss is nan"), ("far", None, "the loss is nan")
    ]  # fmt: skip


@pytest.mark.parametrize("search", ["each", "once"])
def test_another_test_set_repeats_finals_and_no_trial(tmp_path: Path, started: list[int], search: str) -> None:
    transfer = TRANSFER.model_copy(update={"search": search})
    keys = {"checkpoints": "a", "folds": 2}
    (plain,) = toy_cells(tmp_path, transfer, **keys)
    assert simulate([plain], transfer) == {}
    assert len(started) == {"each": 2, "once": 1}[search] * 2 * 3 + 4
    before, prints = _own(plain), [repeat.artefact.fingerprint for repeat in plain.repeats]
    del started[:]
    (more,) = toy_cells(tmp_path, transfer, **keys, test_sets=("far",))
    assert not any(repeat.artefact.fingerprint in prints for repeat in more.repeats)
    assert simulate([more], transfer) == {}
    assert len(started) == 4, "a final for each repeat and fold"
    assert _own(more) == before
    assert _own(plain) == before, "what was there stays"

    del started[:]
    (other,) = toy_cells(tmp_path, transfer, **keys, test_sets=("near", "far"))
    assert simulate([other], transfer) == {}
    assert len(started) == 4, "taken over from any other folder"
    assert simulate([*toy_cells(tmp_path, transfer, **keys)], transfer) == {}
    assert len(started) == 4, "without test sets everything is there already"
    (different,) = toy_cells(tmp_path, transfer, **keys, test_sets=("far",), drop=0.2)
    assert simulate([different], transfer) == {}
    assert len(started) > 8, "another space is another search"


@pytest.mark.parametrize("killed_at", [2, 5, 9, 12])
def test_a_search_under_way_goes_on_with_other_test_sets(tmp_path: Path, killed_at: int) -> None:
    (calm,) = toy_cells(tmp_path / "calm", TRANSFER, checkpoints="a", test_sets=("far",))
    assert simulate([calm], TRANSFER) == {}
    with pytest.raises(Killed):
        simulate(toy_cells(tmp_path, TRANSFER, checkpoints="a"), TRANSFER, events=killed_at)
    (cell,) = toy_cells(tmp_path, TRANSFER, checkpoints="a", test_sets=("far",))
    for end in (0, 3):
        with contextlib.suppress(Killed):
            simulate([cell], TRANSFER, events=end)
    assert simulate([cell], TRANSFER) == {}
    assert outcome([cell]) == outcome([calm])
    first = events(cell)[0]
    assert first["search"] == search_key(cell.repeats[0].artefact.inputs)
    assert first["search"] == search_key(toy_cells(tmp_path, TRANSFER, checkpoints="a")[0].repeats[0].artefact.inputs)
    assert sum(event["event"] == "told" for event in events(cell)) == 3


def test_predictions_that_went_missing_before_the_end_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[int]
) -> None:
    (calm,) = toy_cells(tmp_path / "calm", TRANSFER, checkpoints="a", folds=2, test_sets=("far",))
    (cell,) = toy_cells(tmp_path, TRANSFER, checkpoints="a", folds=2, test_sets=("far",))
    assert simulate([calm], TRANSFER) == {}
    with monkeypatch.context() as patch:
        patch.setattr(toy, "finish_repeat", lambda *args, **keys: 1 / 0)
        assert len(simulate([cell], TRANSFER)) == 2
    folder = cell.repeats[0].artefact.folder
    folder.remove("parts", "far-fold0.parquet")
    del started[:]
    assert simulate([cell], TRANSFER) == {}
    assert len(started) == 1
    assert outcome([cell]) == outcome([calm])


def test_the_first_events_of_a_journal_are_as_if_they_had_been_appended(tmp_path: Path) -> None:
    said = [{"event": "opened", "fold": 0}, {"event": "asked", "trial": 0, "params": {"lr": 0.1}}]
    objects = Storage(pafs.SubTreeFileSystem(str(tmp_path / "bucket"), pafs.LocalFileSystem()), "s")
    for name in ("a", "b"):
        (tmp_path / "bucket/s" / name / "fold0").mkdir(parents=True)
    for folder in (Storage.open(tmp_path / "disk"), objects):
        one, other = Journal(folder.at("a"), "fold0"), Journal(folder.at("b"), "fold0")
        one.begin(said)
        for event in said:
            other.append(event)
        for journal in (one, other):
            journal.append({"event": "lost", "trial": 0, "reason": "é"})
        assert one.read() == other.read() == Journal(folder.at("a"), "fold0").read()
    assert json.loads((tmp_path / "disk/a/fold0.jsonl").read_text().splitlines()[0]) == said[0]
