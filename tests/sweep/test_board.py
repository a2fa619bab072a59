import json
from pathlib import Path

from raysweep.progress import Progress
from raysweep.storage import Storage
from raysweep.sweep.board import Board
from raysweep.sweep.lane import Lane
from raysweep.sweep.state import cell_state
from raysweep.transfer.spec import TransferSpec
from tests.sweep.toy import outcome, simulate, toy_cells

TRANSFER = TransferSpec(trials=2, finals=2, steps=10, evaluations=1)
EVALUATION = {"step": 10, "train_loss": 0.0, "val_loss": 0.1, "val_metric": 0.5}
TRIAL = {"evaluation": EVALUATION, "seconds": 1.0, "last": True, "failed": "", "final": None}


def _board(folder: Path, places: int, checkpoints: str = "abc") -> tuple[Board, list[Lane], list[str]]:
    finished: list[str] = []
    cells = toy_cells(folder, TRANSFER, checkpoints=checkpoints)
    lanes = [Lane(cell, 0, 1, TRANSFER, {"lr": 0.1}, 0) for cell in cells]
    with Progress(quiet=True).stage("search", None, "trials") as stage:
        return Board(lanes, lambda cell, _: finished.append(cell.checkpoint), stage, places), lanes, finished


def _start(board: Board, key: str) -> str | None:
    given = board.start(key)
    return given and f"{given[0].cell.checkpoint} {given[1].kind} {given[1].number}"


def _end(board: Board, key: str, **said) -> None:
    assert board.result(key, TRIAL | said)
    board.release(key)


def _final(lane: Lane, number: int) -> dict:
    name = f"predictions/seed{number}-fold0.parquet"
    lane.cell.artefact.folder.write_bytes(b"", *name.split("/"))
    return {"final": {"params": {}, "n_images": 1, "n_units": 1, "predictions": name, "seconds": 1.0}}


def test_cells_in_order_one_trial_of_each_and_finals_before_trials_of_later_cells(tmp_path: Path) -> None:
    board, lanes, finished = _board(tmp_path, 2)
    assert [_start(board, key) for key in "012"] == ["a trial 0", "b trial 0", None]
    _end(board, "0")
    assert _start(board, "3") == "a trial 1"
    _end(board, "3")
    _end(board, "1")
    # two searches are left for two places: they are chains and go first
    assert [_start(board, key) for key in "456"] == ["b trial 1", "c trial 0", None]
    _end(board, "4")
    assert _start(board, "7") == "a final 0"
    _end(board, "5")
    assert _start(board, "8") == "c trial 1"
    _end(board, "7", **_final(lanes[0], 0))
    assert _start(board, "9") == "a final 1"
    assert finished == []
    _end(board, "9", **_final(lanes[0], 1))
    assert finished == ["a"]
    assert not board.done


def test_finals_come_first_while_there_are_more_searches_than_places(tmp_path: Path) -> None:
    board, _, _ = _board(tmp_path, 1)
    for key in "01":
        _start(board, key)
        _end(board, key)
    assert [_start(board, "2"), _start(board, "3")] == ["a final 0", None]


def test_a_process_that_dies_again_and_again_ends_its_cell_and_is_repeated_by_the_next_run(tmp_path: Path) -> None:
    board, lanes, _ = _board(tmp_path, 2)
    for key in "0123":
        assert _start(board, key) == "a trial 0"
        board.lost(key, "out of memory")
    name, reason = "a/toy-task/toy/1", "trial 0: its process died 4 times (out of memory); run again to repeat it"
    assert board.failed == {name: reason}
    assert [_start(board, key) for key in "45"] == ["b trial 0", "c trial 0"]
    assert cell_state(lanes[0].cell.artefact.folder).reason == reason
    again, _, _ = _board(tmp_path, 1)
    assert _start(again, "0") == "a trial 0"  # not counted as a failure of the setting


def test_a_death_after_the_end_changes_nothing(tmp_path: Path) -> None:
    board, lanes, _ = _board(tmp_path, 1)
    _start(board, "0")
    assert board.result("0", TRIAL)
    board.lost("0", "killed while it was stopped")
    assert len(lanes[0].history.trials[0].evaluations) == 1
    assert _start(board, "1") == "a trial 1"


def test_when_every_trial_fails_the_cell_fails_and_the_others_go_on(tmp_path: Path) -> None:
    transfer = TransferSpec(trials=3, finals=2, steps=10, evaluations=3)
    bad = toy_cells(tmp_path, transfer, checkpoints="a", fails_above=0.0, folds=2)
    good = toy_cells(tmp_path, transfer, checkpoints="b", folds=2)
    for _ in range(2):  # running again finds the same, at once
        failed = simulate(bad + [c for c in good if not c.artefact.done()], transfer, at_once=3)
        assert list(failed) == ["a/toy-task/toy/1"]
        assert failed["a/toy-task/toy/1"].startswith("all 3 trials of fold ")
        assert "ValueError: lr" in failed["a/toy-task/toy/1"]
        assert json.loads(bad[0].artefact.folder.read_bytes("failed.json"))["reason"] == failed["a/toy-task/toy/1"]
    assert len(outcome(good)) == 3
    assert not bad[0].artefact.done()


def test_a_final_that_raises_fails_its_cell_and_is_repeated(tmp_path: Path) -> None:
    board, lanes, finished = _board(tmp_path, 1, "a")
    for key in "01":
        _start(board, key)
        _end(board, key)
    _start(board, "2")
    _end(board, "2", failed="WorkError: no")
    assert board.done
    assert board.failed == {"a/toy-task/toy/1": "final 0: WorkError: no"}
    board, lanes, finished = _board(tmp_path, 1, "a")
    for key in "01":
        assert _start(board, key) == f"a final {key}"
        _end(board, key, **_final(lanes[0], int(key)))
    assert finished == ["a"]
    assert board.done


def test_a_note_of_failure_goes_when_the_cell_succeeds(tmp_path: Path) -> None:
    cells = toy_cells(tmp_path, TRANSFER, checkpoints="a")
    Storage.write_json(cells[0].artefact.folder, {"reason": "an earlier run"}, "failed.json")
    assert simulate(cells, TRANSFER) == {}
    assert not cells[0].artefact.folder.exists("failed.json")
