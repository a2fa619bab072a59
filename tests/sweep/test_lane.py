"""Whole searches, run in one process (`simulate`), with the driver killed wherever it hurts."""

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.sweep.lane import DrawSizes, Lane
from raysweep.transfer.spec import TransferSpec
from tests.sweep.toy import Killed, events, outcome, simulate, toy_cells

TRANSFER = TransferSpec(trials=9, repeats=2, steps=90, evaluations=4)
FOLDED = {"folds": 2, "checkpoints": "ab", "fails_above": 0.03}
SIZES = DrawSizes(20, 10, 4, 2)


def _cells(folder: Path, transfer: TransferSpec = TRANSFER, **kwargs):
    return toy_cells(folder, transfer, **(FOLDED | kwargs))


def _params(trials: list[dict], fold: int = 0) -> list[dict]:
    return [json.loads(t["params"]) for t in trials if t["fold"] == fold]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list:
    cells = _cells(tmp_path_factory.mktemp("undisturbed"))
    assert simulate(cells, TRANSFER) == {}
    return outcome(cells)


def test_a_repeat_prunes_fails_learns_and_ends_with_a_final(undisturbed: list) -> None:
    statuses = set()
    for number, (trials, rows, predictions) in enumerate([undisturbed[:3], undisturbed[3:6]]):
        assert [(t["fold"], t["number"]) for t in trials] == [(fold, n) for fold in (0, 1) for n in range(9)]
        statuses |= {t["status"] for t in trials}
        for trial in trials:
            high = json.loads(trial["params"])["lr"] > 0.03
            assert (trial["status"] == "failed") == high == (trial["value"] is None)
            assert ("lr 0.0" in trial["reason"]) == high
            assert (len(trial["evaluations"]) == 4) == (trial["status"] == "done")
        assert list(predictions) == ["toy-task.parquet"]
        assert [row["metric"] for row in rows] == ["accuracy", "auroc"]
        row = rows[0]
        assert (row["repeat"], row["search"], row["reason"], row["n_folds"]) == (number, "each", "", 2)
        assert row["predictions"] == "predictions/toy-task.parquet"
        assert (row["n_test_images"], row["n_test_units"]) == (48, 24)  # the folds cover the task
        assert (row["n_images"], row["n_units"]) == (24, 12)
        assert 0 < row["n_val_units"] < row["n_val_images"] < 24
        assert row["folder"].split("/")[:5] == ["cells", "a", "toy-task", "toy", "1"]
        assert row["folder"].endswith(f"/{number}")
        assert [e["fold"] for e in row["evaluations"]] == [0] * 4 + [1] * 4
        for fold, params in enumerate(row["params"]):
            ended = [t for t in trials if t["fold"] == fold and t["status"] == "done"]
            assert params == min(ended, key=lambda t: t["value"])["params"]  # few units in val: by the loss
            assert {t["select"] for t in ended} == {"val_loss"}
    assert statuses == {"done", "pruned", "failed"}
    assert undisturbed[1][0]["value"] != undisturbed[4][0]["value"]


def test_startup_settings_are_common_to_checkpoints_folds_and_fractions_and_differ_between_repeats(
    tmp_path: Path, undisturbed: list
) -> None:
    a0, a1, b0 = undisturbed[0], undisturbed[3], undisturbed[6]
    less = _cells(tmp_path, checkpoints="a", fraction=0.5)
    simulate(less, TRANSFER)
    fewer = outcome(less)[0]
    first = _params(a0)[:6]
    assert first[0] == {"lr": 1e-3, "drop": 0.1, "pace": 0.0, "fails_above": 0.03}  # the space's default
    for other in (_params(a0, 1), _params(b0), _params(b0, 1), _params(fewer)):
        assert other[:6] == first
    assert _params(a0) != _params(b0)  # what was learnt differs
    assert _params(a1)[0] == first[0]
    assert all(x != y for x, y in zip(_params(a1)[1:6], first[1:], strict=True))


def test_more_repeats_redo_nothing(tmp_path: Path, undisturbed: list) -> None:
    more = TRANSFER.model_copy(update={"repeats": 3})
    simulate(_cells(tmp_path), TRANSFER)
    cells = _cells(tmp_path, more)
    folders = [r.artefact.folder for r in cells[0].repeats]
    before = [folder.fs.get_file_info(folder.path("manifest.json")).mtime_ns for folder in folders[:2]]
    assert [r.artefact.done() for r in cells[0].repeats] == [True, True, False]
    simulate(cells, more)
    assert outcome(cells)[:6] == undisturbed[:6]
    assert [folder.fs.get_file_info(folder.path("manifest.json")).mtime_ns for folder in folders[:2]] == before
    assert all(r.artefact.done() for cell in cells for r in cell.repeats)


def test_one_search_can_serve_every_repeat(tmp_path: Path, undisturbed: list) -> None:
    once = TRANSFER.model_copy(update={"search": "once", "repeats": 3})
    cells = _cells(tmp_path, once)
    assert simulate(cells, once, at_once=5, order=3) == {}
    found = outcome(cells)
    assert found[0] == undisturbed[0]  # repeat 0 is what it would be anyway
    assert [found[i] for i in (3, 6)] == [[], []]
    assert {tuple(row["params"]) for i in (1, 4, 7) for row in found[i]} == {tuple(found[1][0]["params"])}
    assert len({found[i][0]["value"] for i in (1, 4, 7)}) > 1
    assert {row["search"] for i in (1, 4, 7) for row in found[i]} == {"once"}
    more = once.model_copy(update={"repeats": 4})  # with repeat 0 done long ago
    cells = _cells(tmp_path, more)
    assert simulate(cells, more) == {}
    assert outcome(cells)[:9] == found[:9]


@settings(max_examples=4, deadline=None)
@given(order=st.integers(0, 10**6), at_once=st.integers(1, 8))
def test_results_do_not_depend_on_what_runs_at_the_same_time(tmp_path_factory, undisturbed, order, at_once) -> None:
    cells = _cells(tmp_path_factory.mktemp("order"))
    assert simulate(cells, TRANSFER, order=order, at_once=at_once) == {}
    assert outcome(cells) == undisturbed


@settings(max_examples=5, deadline=None)
@given(order=st.integers(0, 10**6), at_once=st.integers(1, 4), kills=st.lists(st.integers(0, 60), max_size=12))
def test_a_driver_killed_again_and_again_ends_at_the_same_results(
    tmp_path_factory, undisturbed, order, at_once, kills
) -> None:
    cells = _cells(tmp_path_factory.mktemp("kills"))
    for start, moment in enumerate(kills):
        try:
            simulate(cells, TRANSFER, order=order + start, at_once=at_once, events=moment)
        except Killed:
            continue
        break
    simulate(cells, TRANSFER, order=order)
    assert outcome(cells) == undisturbed


@pytest.mark.parametrize("search", ["each", "once"])
def test_a_driver_killed_at_every_single_event(tmp_path: Path, search: str) -> None:
    transfer = TransferSpec(trials=3, repeats=2, steps=10, evaluations=2, search=search)
    same = {"checkpoints": "b", "folds": 1, "fails_above": 1.0}
    whole = _cells(tmp_path / "whole", transfer, **same)
    simulate(whole, transfer)
    for moment in itertools.count():
        cells = _cells(tmp_path / f"killed{moment}", transfer, **same)
        try:
            simulate(cells, transfer, events=moment)
        except Killed:
            simulate(cells, transfer)
            assert outcome(cells) == outcome(whole)
        else:
            break
    evaluations = sum(len(t["evaluations"]) for i in (0, 3) for t in outcome(whole)[i])
    searches = 2 if search == "each" else 1
    assert moment == 2 * (1 + 2) + searches * 3 * 2 + evaluations


def test_seconds_of_repeated_attempts_add_up(tmp_path: Path) -> None:
    transfer = TRANSFER.model_copy(update={"repeats": 1})
    cells = _cells(tmp_path, transfer, checkpoints="a", folds=1, pace=0.01)
    with pytest.raises(Killed):
        simulate(cells, transfer, events=4)  # opened, asked, reported, reported
    simulate(cells, transfer)
    folder = cells[0].repeats[0].artefact.folder
    first = folder.read_table("trials.parquet").to_pylist()[0]
    assert [e["event"] for e in events(cells[0])][1:5] == ["asked", "reported", "reported", "asked"]
    assert first["trial_seconds"] > 0.01 * (2 + 4)
    seconds = sum(folder.read_table("trials.parquet")["trial_seconds"].to_pylist())
    rows = folder.read_table("final.parquet").to_pylist()
    assert {row["search_seconds"] for row in rows} == {seconds}
    assert all(row["train_seconds"] > 0.04 for row in rows)


def test_a_final_whose_file_went_missing_is_repeated(tmp_path: Path) -> None:
    cells = _cells(tmp_path)
    simulate(cells, TRANSFER)
    before = outcome(cells)
    folder = cells[0].repeats[1].artefact.folder
    for name in ("manifest.json", "predictions/toy-task.parquet", "final.parquet"):
        folder.remove(*name.split("/"))
    simulate(cells[:1], TRANSFER)
    assert outcome(cells) == before
    assert [e["event"] for e in events(cells[0], 1)].count("final") == 2
    assert [e["event"] for e in events(cells[0], 0)].count("final") == 1


def test_pretraining_seeds_take_turns(tmp_path: Path) -> None:
    transfer = TransferSpec(trials=2, repeats=4, steps=10, evaluations=1)
    cells = toy_cells(tmp_path, transfer, checkpoints="a", pretraining_seeds=2)
    simulate(cells, transfer)
    rows = [row for _, rows, _ in zip(*[iter(outcome(cells))] * 3, strict=True) for row in rows]
    assert [(r["repeat"], r["pretraining_seed"]) for r in rows[::2]] == [(0, 0), (1, 1), (2, 0), (3, 1)]
    again = toy_cells(tmp_path, transfer, checkpoints="a", pretraining_seeds=4)
    assert [r.artefact.done() for r in again[0].repeats] == [True, True, False, False]  # 0 and 1 see what they saw


def test_a_final_that_diverges_is_a_row_with_its_reason_and_the_rest_goes_on(tmp_path: Path) -> None:
    cells = toy_cells(tmp_path, TRANSFER, checkpoints="ab", final_fails="a", folds=2)
    assert simulate(cells, TRANSFER) == {}
    found = outcome(cells)
    for rows in (found[1], found[4]):
        assert {(r["value"], r["reason"], r["predictions"]) for r in rows} == {(None, "fold 0: the loss is nan", "")}
        assert all(r["value"] is None and r["per_class"] is None and r["params"][0] for r in rows)
    assert all(r["value"] is not None for r in found[7] + found[10])
    assert simulate(cells, TRANSFER) == {}  # it is done: nothing is tried again
    assert outcome(cells) == found


def test_when_every_setting_diverges_the_repeat_has_no_value(tmp_path: Path) -> None:
    transfer = TransferSpec(trials=3, repeats=2, steps=10, evaluations=3)
    bad = toy_cells(tmp_path, transfer, checkpoints="a", fails_above=0.0, folds=2)
    good = toy_cells(tmp_path, transfer, checkpoints="b", folds=2)
    assert simulate(bad + good, transfer, at_once=3) == {}
    trials, rows, predictions = outcome(bad)[:3]
    assert {t["status"] for t in trials} == {"failed"}
    assert {r["reason"] for r in rows} == {"fold 0: all 3 trials failed; the first: lr 0.001 is too high"}
    assert {r["value"] for r in rows} == {None}
    assert predictions == {}
    assert all(r["value"] is not None for r in outcome(good)[1])


@pytest.mark.parametrize("select", ["val_loss", "last", "val_metric"])
def test_the_other_rules_of_selection(tmp_path: Path, select) -> None:
    transfer = TransferSpec(trials=4, repeats=1, steps=10, evaluations=3, select=select, early_stopping="none", val=0.5)
    cells = toy_cells(tmp_path, transfer, checkpoints="a", n=96)  # enough units in val for the metric
    assert simulate(cells, transfer) == {}
    trials, rows, _ = outcome(cells)
    assert {t["status"] for t in trials} == {"done"}
    assert {t["select"] for t in trials} == {select}
    assert rows[0]["n_val_units"] >= 10
    key = "val_loss" if select == "val_loss" else "val_metric"
    if select == "last":
        assert [t["value"] for t in trials] == [t["evaluations"][-1][key] for t in trials]
    best = (min if select == "val_loss" else max)(trials, key=lambda t: t["value"])
    assert rows[0]["params"] == [best["params"]]


def _told(lane: Lane, losses: list[float]) -> Lane:
    for number, loss in enumerate(losses):
        assert lane.start().number == number
        evaluation = {"step": 10, "train_loss": 0.0, "val_loss": loss, "val_metric": 0.5}
        assert not lane.report(number, evaluation, 1.0, 10)
        lane.tell(number, 1.0)
    return lane


def test_equal_values_go_to_the_lower_val_loss_and_then_to_the_lower_number(tmp_path: Path) -> None:
    transfer = TransferSpec(trials=3, repeats=1, steps=10, evaluations=1)
    cell = toy_cells(tmp_path, transfer, checkpoints="a")[0]
    many = DrawSizes(200, 100, 40, 20)
    for folder, (losses, best) in {"x": ([0.69, 0.05, 0.01], 2), "y": ([0.2, 0.1, 0.1], 1)}.items():
        repeat = toy_cells(tmp_path / folder, transfer, checkpoints="a")[0].repeats[0]
        lane = _told(Lane(cell, repeat, 0, 1, transfer, 0, sizes=many), losses)
        assert lane.select == "val_metric"
        assert lane.best() is lane.history.trials[best]


def test_more_than_one_trial_of_a_repeat_at_once(tmp_path: Path) -> None:
    transfer = TRANSFER.model_copy(update={"parallel_per_repeat": 3})
    cells = _cells(tmp_path, transfer)
    assert simulate(cells, transfer, at_once=8) == {}
    asked = [e["event"] for e in events(cells[0])]
    assert asked[:4] == ["opened", "asked", "asked", "asked"]
    assert [t["number"] for t in outcome(cells)[0]] == [*range(9)] * 2
