from pathlib import Path

import pytest

from raysweep.storage import fingerprint
from raysweep.sweep.cell import cell_inputs
from raysweep.transfer.spec import TransferSpec
from tests.sweep.toy import SPACE, toy_cells

BASE = {"checkpoints": ["c0"], "task": "t", "protocol": "toy", "kind": "classification", "fraction": 0.5,
        "space": SPACE, "seed": 0}  # fmt: skip


def _fingerprint(transfer: dict, **change) -> str:
    return fingerprint(cell_inputs(TransferSpec.model_validate(transfer), **(BASE | change)))


@pytest.mark.parametrize("key", ["trials", "finals", "steps", "evaluations", "batch"])
def test_the_budget_is_part_of_a_cell(key: str) -> None:
    assert _fingerprint({key: 7}) != _fingerprint({key: 8})


@pytest.mark.parametrize(
    "change",
    [{"checkpoints": ["c0", "c1"]}, {"task": "u"}, {"protocol": "linear"}, {"fraction": 1.0}, {"seed": 1},
     {"space": SPACE | {"pace": 1.0}}],
)  # fmt: skip
def test_so_are_its_inputs(change: dict) -> None:
    assert _fingerprint({}) != _fingerprint({}, **change)


def test_other_cells_of_the_study_are_not() -> None:
    more = {"protocols": ["finetune", "linear"], "fractions": [0.1, 1.0], "spaces": {"other": {"C": 1}}}
    assert _fingerprint({}) == _fingerprint(more)


def test_the_name_is_what_people_say(tmp_path: Path) -> None:
    assert [c.name for c in toy_cells(tmp_path, TransferSpec())] == ["a/toy-task/toy/1", "b/toy-task/toy/1"]
