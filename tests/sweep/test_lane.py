"""Whole searches, run in one process (`simulate`), with the driver killed wherever it hurts."""

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.sweep.lane import Lane
from raysweep.transfer.spec import TransferSpec
from tests.sweep.toy import Killed, outcome, simulate, toy_cells

TRANSFER = TransferSpec(trials=9, finals=2, steps=90, evaluations=4)
FOLDED = {"folds": 2, "checkpoints": "ab", "fails_above": 0.03}


def _cells(folder: Path, transfer: TransferSpec = TRANSFER, **kwargs):
    return toy_cells(folder, transfer, **(FOLDED | kwargs))


def _events(cell, fold: int = 0) -> list[dict]:
    return Lane(cell, fold, 2, TRANSFER, {}, 0)._journal.read()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list:
    cells = _cells(tmp_path_factory.mktemp("undisturbed"))
    assert simulate(cells, TRANSFER) == {}
    return outcome(cells)


def test_a_search_prunes_fails_learns_and_ends_with_finals(undisturbed: list) -> None:
    trials, finals, predictions = undisturbed[:3]
    assert [(t["fold"], t["number"]) for t in trials] == [(fold, n) for fold in (0, 1) for n in range(9)]
    assert {t["status"] for t in trials} == {"done", "pruned", "failed"}
    for trial in trials:
        high = json.loads(trial["params"])["lr"] > 0.03
        assert (trial["status"] == "failed") == high == (trial["value"] is None)
        assert ("ValueError: lr" in trial["reason"]) == high
        assert (len(trial["evaluations"]) == 4) == (trial["status"] == "done")
    assert len(predictions) == 4
    for seed, final in enumerate(finals):
        assert (final["seed"], final["draw"]) == (seed, seed)
        assert final["predictions"] == [f"predictions/seed{seed}-fold{fold}.parquet" for fold in (0, 1)]
        assert (final["n_test_images"], final["n_test_units"]) == (48, 24)  # the folds cover the task
        assert (final["n_images"], final["n_units"]) == (24, 12)
        assert final["cell"].split("/")[:-1] == ["cells", "a", "toy-task", "toy", "1"]
        for fold, params in enumerate(final["params"]):
            ended = [t for t in trials if t["fold"] == fold and t["status"] == "done"]
            assert params == max(ended, key=lambda t: t["value"])["params"]
    assert finals[0]["value"] != finals[1]["value"]  # fresh seeds


def test_checkpoints_share_their_luck_and_folds_do_not(undisturbed: list) -> None:
    a, b = undisturbed[0], undisturbed[3]
    assert [t["params"] for t in a[:6]] == [t["params"] for t in b[:6]]
    assert [t["params"] for t in a] != [t["params"] for t in b]
    assert a[0]["params"] != a[9]["params"]


@settings(max_examples=4, deadline=None)
@given(order=st.integers(0, 10**6), at_once=st.integers(1, 8))
def test_results_do_not_depend_on_what_runs_at_the_same_time(tmp_path_factory, undisturbed, order, at_once) -> None:
    cells = _cells(tmp_path_factory.mktemp("order"))
    assert simulate(cells, TRANSFER, order=order, at_once=at_once) == {}
    assert outcome(cells) == undisturbed


@settings(max_examples=5, deadline=None)
@given(order=st.integers(0, 10**6), at_once=st.integers(1, 4), kills=st.lists(st.integers(0, 40), max_size=12))
def test_a_driver_killed_again_and_again_ends_at_the_same_results(
    tmp_path_factory, undisturbed, order, at_once, kills
) -> None:
    cells = _cells(tmp_path_factory.mktemp("kills"))
    for start, events in enumerate(kills):
        try:
            simulate(cells, TRANSFER, order=order + start, at_once=at_once, events=events)
        except Killed:
            continue
        break
    simulate([c for c in cells if not c.artefact.done()], TRANSFER, order=order)
    assert outcome(cells) == undisturbed


def test_a_driver_killed_at_every_single_event(tmp_path: Path) -> None:
    transfer = TransferSpec(trials=3, finals=1, steps=10, evaluations=2)
    whole = _cells(tmp_path / "whole", transfer, checkpoints="b", folds=1, fails_above=1.0)
    simulate(whole, transfer)
    for events in itertools.count():
        cells = _cells(tmp_path / f"killed{events}", transfer, checkpoints="b", folds=1, fails_above=1.0)
        try:
            simulate(cells, transfer, events=events)
        except Killed:
            simulate(cells, transfer)
            assert outcome(cells) == outcome(whole)
        else:
            break
    assert events == 1 + (1 + 2 + 1) + (1 + 2 + 1) + (1 + 1 + 1) + 2  # the third trial is stopped early


def test_seconds_of_repeated_attempts_add_up(tmp_path: Path) -> None:
    cells = _cells(tmp_path, checkpoints="a", folds=1, pace=0.01)
    with pytest.raises(Killed):
        simulate(cells, TRANSFER, events=4)  # opened, asked, reported, reported
    simulate(cells, TRANSFER)
    first = cells[0].artefact.folder.read_table("trials.parquet").to_pylist()[0]
    assert [e["event"] for e in _events(cells[0])][1:5] == ["asked", "reported", "reported", "asked"]
    assert first["trial_seconds"] > 0.01 * (2 + 4)
    seconds = sum(cells[0].artefact.folder.read_table("trials.parquet")["trial_seconds"].to_pylist())
    finals = cells[0].artefact.folder.read_table("finals.parquet").to_pylist()
    assert {f["search_seconds"] for f in finals} == {seconds}
    assert all(f["train_seconds"] > 0.04 for f in finals)


def test_finals_whose_file_went_missing_are_repeated(tmp_path: Path) -> None:
    cells = _cells(tmp_path)
    simulate(cells, TRANSFER)
    before = outcome(cells)
    folder = cells[0].artefact.folder
    for name in ("manifest.json", "predictions/seed1-fold0.parquet", "finals.parquet"):
        folder.remove(*name.split("/"))
    simulate(cells[:1], TRANSFER)
    assert outcome(cells) == before
    assert [e["final"] for e in _events(cells[0]) if e["event"] == "final"].count(1) == 2


def test_pretraining_seeds_are_searched_once_and_take_turns_in_finals(tmp_path: Path) -> None:
    transfer = TransferSpec(trials=2, finals=5, steps=10, evaluations=1)
    cells = toy_cells(tmp_path, transfer, checkpoints="a", pretraining_seeds=2)
    simulate(cells, transfer)
    finals = cells[0].artefact.folder.read_table("finals.parquet").to_pylist()
    assert [f["pretraining_seed"] for f in finals] == [0, 1, 0, 1, 0]


@pytest.mark.parametrize("select", ["val_loss", "last"])
def test_the_other_rules_of_selection(tmp_path: Path, select) -> None:
    transfer = TransferSpec(trials=4, finals=1, steps=10, evaluations=3, select=select, early_stopping="none")
    cells = toy_cells(tmp_path, transfer, checkpoints="a")
    assert simulate(cells, transfer) == {}
    trials, finals, _ = outcome(cells)
    assert {t["status"] for t in trials} == {"done"}
    key = "val_loss" if select == "val_loss" else "val_metric"
    if select == "last":
        assert [t["value"] for t in trials] == [t["evaluations"][-1][key] for t in trials]
    best = (min if select == "val_loss" else max)(trials, key=lambda t: t["value"])
    assert finals[0]["params"] == [best["params"]]


def test_equal_values_go_to_the_lowest_number(tmp_path: Path) -> None:
    transfer = TransferSpec(trials=3, finals=1, steps=10, evaluations=1)
    lane = Lane(toy_cells(tmp_path, transfer, checkpoints="a")[0], 0, 1, transfer, {"lr": 1.0}, 0)
    for number in range(3):
        assert lane.start().number == number
        evaluation = {"step": 10, "train_loss": 0.0, "val_loss": 0.1, "val_metric": 0.5}
        assert not lane.report(number, evaluation, 1.0)
        lane.tell(number, 1.0)
    assert lane.best().number == 0


def test_more_than_one_trial_of_a_cell_at_once(tmp_path: Path) -> None:
    transfer = TRANSFER.model_copy(update={"parallel_per_cell": 3})
    cells = _cells(tmp_path, transfer)
    assert simulate(cells, transfer, at_once=8) == {}
    asked = [e["event"] for e in _events(cells[0])]
    assert asked[:4] == ["opened", "asked", "asked", "asked"]
    assert [t["number"] for t in outcome(cells)[0]] == [*range(9)] * 2
