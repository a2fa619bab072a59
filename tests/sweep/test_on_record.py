"""Journals in a bucket that somebody else has written into."""

import json
from pathlib import Path

import pytest

from raysweep.errors import WorkError
from raysweep.sweep import run
from raysweep.sweep.history import History
from raysweep.sweep.on_record import misfit
from raysweep.transfer.spec import TransferSpec
from tests.sweep.toy import simulate, toy_cells

SPACE = {
    "lr": {"type": "float", "low": 1e-5, "high": 0.1, "log": True, "default": 1e-3},
    "depth": {"type": "int", "low": 1, "high": 4, "log": False, "default": 2},
    "head": {"type": "categorical", "values": ["new", "probe", 0.5, True], "default": "new"},
    "pace": 0.0,
}


@pytest.mark.parametrize("params", [
    {"lr": 0.1, "depth": 4, "head": "probe", "pace": 0.0}, {"lr": 0.1 + 1e-12}, {"lr": 1e-5, "head": True},
    {"head": 0.5}, {},
])  # fmt: skip
def test_what_a_search_could_have_tried(params: dict) -> None:
    assert misfit(SPACE, params) == ""


@pytest.mark.parametrize("params", [
    {"lr": 1.0}, {"lr": "0.01"}, {"lr": float("nan")}, {"lr": True}, {"depth": 10**9}, {"depth": 2.0},
    {"head": "__import__"}, {"head": 1}, {"pace": 3600.0}, {"batch": 8}, ["lr"], None, {"lr": [0.01]},
])  # fmt: skip
def test_what_it_could_not(params: object) -> None:
    assert misfit(SPACE, params)


_ASKED = {"event": "asked", "trial": 0, "params": {}}
_FINAL = {"event": "final", "final": 0, "params": {}, "evaluations": [], "predictions": "parts/a.parquet", "reason": "",
          "seconds": 1.0}  # fmt: skip


@pytest.mark.parametrize("event", [
    {}, {"event": "told", "trial": 7}, {"event": "asked", "trial": 1}, [], "asked", {"event": "asked", "trial": []},
    _FINAL | {"predictions": "../../../../secret.parquet"}, _FINAL | {"predictions": "/etc/passwd"},
    _FINAL | {"predictions": None}, _FINAL | {"further": {"x": "a/../../b"}}, _FINAL | {"further": "x"},
])  # fmt: skip
def test_events_that_are_none_are_one_sentence(event: object) -> None:
    assert History([_ASKED, _FINAL]).final
    with pytest.raises(WorkError, match=r"^a journal holds an event that raysweep does not write"):
        History([_ASKED, event])  # type: ignore[list-item]


def test_a_setting_of_somebody_else_is_not_trained(tmp_path: Path) -> None:
    transfer = TransferSpec(trials=2, repeats=1, steps=90, evaluations=4)
    cells = toy_cells(tmp_path, transfer, checkpoints="a")
    simulate(cells, transfer)
    (journal,) = tmp_path.rglob("journal/fold0.jsonl")
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    next(e for e in events if e["event"] == "asked")["params"]["lr"] = 1e6
    journal.write_text("".join(json.dumps(event) + "\n" for event in events))
    (journal.parents[1] / "manifest.json").unlink()
    _, lanes, broken = run.open_lanes(cells, transfer, 0, "/nowhere")
    assert not lanes
    ((_, _, reason),) = broken
    assert (
        "journal: trial 0: lr is 1000000.0, which the search space does not allow; remove the repeat's folder" in reason
    )
