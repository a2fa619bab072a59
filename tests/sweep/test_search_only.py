"""Repeats that are searched while their finals wait for a choice."""

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from raysweep.storage import MANIFEST
from raysweep.sweep.cell import Cell
from raysweep.sweep.validation import validation_of
from raysweep.transfer.spec import TransferSpec
from tests.sweep.toy import Killed, events, outcome, simulate, toy_cells

TRANSFER = TransferSpec(trials=3, repeats=2, steps=40, evaluations=2)


def _alone(cells: list[Cell]) -> list[Cell]:
    return [replace(cell, repeats=tuple(replace(r, final=False) for r in cell.repeats)) for cell in cells]


def _values(cells: list[Cell]) -> list:
    return [validation_of(cell, repeat) for cell in cells for repeat in cell.repeats]


@pytest.mark.parametrize("search", ["each", "once"])
def test_search_now_and_final_later_is_what_both_at_once_are(tmp_path: Path, search: str) -> None:
    transfer = TRANSFER.model_copy(update={"search": search})
    both = toy_cells(tmp_path / "both", transfer, folds=2)
    assert simulate(both, transfer, at_once=2) == {}
    cells = toy_cells(tmp_path / "apart", transfer, folds=2)
    assert _values(cells) == [None] * 4
    for kill in (7, None):
        with contextlib.suppress(Killed):
            assert simulate(_alone(cells), transfer, at_once=2, events=kill) == {}
    for cell in cells:
        assert not any(r.artefact.folder.exists(name) for r in cell.repeats for name in (MANIFEST, "parts", "model"))
        searched = cell.repeats if search == "each" else cell.repeats[:1]
        kinds = [e["event"] for r in searched for fold in (0, 1) for e in events(cell, r.number, fold)]
        assert kinds.count("told") == 6 * len(searched)
        assert "final" not in kinds
    first = slice(0, None, 1 if search == "each" else 2)  # repeats that are searched
    assert all(value and value.value is not None for value in _values(cells)[first])
    assert _values(cells)[first] == _values(both)[first]
    assert simulate(_alone(cells), transfer) == {}, "nothing is left to search"
    assert simulate(cells[1:], transfer) == {}
    assert outcome(cells[1:]) == outcome(both[1:]), "the one that was chosen"
    assert not any(r.artefact.done() for r in cells[0].repeats), "the other has no final"
    assert simulate(cells[:1], transfer, order=3) == {}
    assert outcome(cells) == outcome(both)


def test_a_value_is_the_mean_over_folds_of_the_best_on_val(tmp_path: Path) -> None:
    transfer = TRANSFER.model_copy(update={"repeats": 1, "early_stopping": "none"})
    cells = toy_cells(tmp_path, transfer, checkpoints="a", folds=2)
    assert simulate(_alone(cells), transfer) == {}
    best = [min(e["value"] for e in events(cells[0], 0, fold) if e["event"] == "told") for fold in (0, 1)]
    (found,) = _values(cells)
    assert (found.by, found.value) == ("minus val_loss", pytest.approx(-sum(best) / 2))
    many = toy_cells(tmp_path / "many", transfer, checkpoints="a", n=300)
    assert simulate(_alone(many), transfer) == {}
    (found,) = _values(many)
    assert (found.by, found.value) == (
        "val_metric", max(e["value"] for e in events(many[0]) if e["event"] == "told")
    )  # fmt: skip
    broken = toy_cells(tmp_path / "broken", transfer, checkpoints="a", fails_above=0.0)
    assert simulate(_alone(broken), transfer) == {}
    (found,) = _values(broken)
    assert found.value is None
    assert found.by.startswith("all 3 trials failed; the first: lr ")
    assert not broken[0].repeats[0].artefact.done()
