import subprocess
import sys
from pathlib import Path

import pytest

from raysweep.sweep.state import RepeatState, repeat_state
from raysweep.transfer.spec import TransferSpec
from tests.sweep.toy import Killed, events, simulate, toy_cells

TRANSFER = TransferSpec(trials=3, repeats=1, steps=10, evaluations=2, early_stopping="none")


def test_a_repeat_from_waiting_to_done(tmp_path: Path) -> None:
    cell = toy_cells(tmp_path, TRANSFER, checkpoints="a", folds=2)[0]
    folder = cell.repeats[0].artefact.folder
    assert repeat_state(folder) == RepeatState("waiting")
    with pytest.raises(Killed):
        simulate([cell], TRANSFER, events=6)  # one trial is told, the next is asked for
    told = [e["value"] for e in events(cell) if e["event"] == "told"]
    loss = {"best": told[0], "select": "val_loss"}
    assert repeat_state(folder) == RepeatState("started", trials=6, done=1, running=1, **loss)
    assert repeat_state(folder).seconds > 0
    folder.write_json({"reason": "the roof fell in"}, "failed.json")
    assert (repeat_state(folder).status, repeat_state(folder).reason) == ("failed", "the roof fell in")
    with pytest.raises(Killed):
        simulate([cell], TRANSFER, events=24)  # the last final is being written
    best = [min(e["value"] for e in events(cell, fold=fold) if e["event"] == "told") for fold in (0, 1)]
    loss["best"] = sum(best) / 2
    assert repeat_state(folder) == RepeatState("started", trials=6, done=6, finals_done=1, **loss)
    simulate([cell], TRANSFER)
    assert repeat_state(folder) == RepeatState("done", trials=6, done=6, finals_done=2, **loss)
    assert repeat_state(folder).told == 6


def test_failed_settings_and_a_search_that_is_anothers(tmp_path: Path) -> None:
    transfer = TRANSFER.model_copy(update={"repeats": 2, "search": "once"})
    cell = toy_cells(tmp_path, transfer, checkpoints="a", fails_above=0.0)[0]
    simulate([cell], transfer)
    first, second = (repeat_state(repeat.artefact.folder) for repeat in cell.repeats)
    assert first == RepeatState("done", trials=3, failed=3, finals_done=1, select="val_loss")
    assert second == RepeatState("done", finals_done=1, select="val_loss")


def test_reading_it_loads_nothing_heavy() -> None:
    heavy = "[m for m in ('ray', 'torch', 'optuna') if m in sys.modules]"
    code = f"import sys, raysweep.sweep.state, raysweep.sweep.cell; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
