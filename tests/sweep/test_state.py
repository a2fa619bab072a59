import subprocess
import sys
from pathlib import Path

import pytest

from raysweep.sweep.state import CellState, cell_state
from raysweep.transfer.spec import TransferSpec
from tests.sweep.toy import Killed, simulate, toy_cells

TRANSFER = TransferSpec(trials=3, finals=2, steps=10, evaluations=2, early_stopping="none")


def test_a_cell_from_waiting_to_done(tmp_path: Path) -> None:
    cell = toy_cells(tmp_path, TRANSFER, checkpoints="a", folds=2)[0]
    folder = cell.artefact.folder
    assert cell_state(folder) == CellState("waiting")
    with pytest.raises(Killed):
        simulate([cell], TRANSFER, events=6)  # one trial is told, the next is asked for
    assert cell_state(folder) == CellState("started", trials=6, done=1, running=1, finals=4)
    folder.write_json({"reason": "the roof fell in"}, "failed.json")
    assert (cell_state(folder).status, cell_state(folder).reason) == ("failed", "the roof fell in")
    simulate([cell], TRANSFER)
    assert cell_state(folder) == CellState("done", trials=6, done=6, finals=4, finals_done=4)


def test_finals_under_way(tmp_path: Path) -> None:
    cell = toy_cells(tmp_path, TRANSFER, checkpoints="a")[0]
    with pytest.raises(Killed):
        simulate([cell], TRANSFER, events=1 + 3 * 4 + 3)  # a final is done, the next is asked for
    assert cell_state(cell.artefact.folder) == CellState(
        "started", trials=3, done=3, finals=2, finals_done=1, finals_running=1
    )


def test_reading_it_loads_nothing_heavy() -> None:
    heavy = "[m for m in ('ray', 'torch', 'optuna') if m in sys.modules]"
    code = f"import sys, raysweep.sweep.state, raysweep.sweep.cell; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
