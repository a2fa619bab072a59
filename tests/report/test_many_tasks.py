"""How the work of a report grows with the number of tasks: counted, not timed."""

from typing import Any

import pyarrow as pa
import pytest

from raysweep.randomness import generator
from raysweep.report import blocks, compare, single_step
from raysweep.report.beyond import look_beyond
from raysweep.report.blocks import difference_blocks, value_blocks
from raysweep.report.cells import CellRef, RepeatRef
from raysweep.report.checkpoints import checkpoint_table
from raysweep.report.compare import compare_cells
from raysweep.report.heat import task_map
from raysweep.report.intervals import Scores
from raysweep.report.pair_heat import pair_maps
from raysweep.report.seen import NONE, Seen
from raysweep.report.spec import CompareSpec
from raysweep.report.style import marks
from raysweep.report.thumbnails import largest
from raysweep.report.views import differences_table, main_table, results_table
from raysweep.report.words import answer
from raysweep.storage import Storage
from raysweep.transfer.schema import RESULT_SCHEMA

_NAMES = ("imagenet", "random", "simclr", "byol")
_FRACTIONS = (0.1, 1.0)


class _Counted(CellRef):
    """A cell that counts how often anything of it is asked for: who looks at every cell for every task shows here."""

    reads = 0

    def __getattribute__(self, name: str) -> Any:
        _Counted.reads += 1
        return super().__getattribute__(name)


@pytest.fixture(autouse=True)
def _light(monkeypatch: pytest.MonkeyPatch) -> None:
    """No files, few draws, no figures: what is left is the handling of cells."""
    monkeypatch.setattr(compare, "read_scores", _scores)
    monkeypatch.setattr(single_step, "_DRAWS", 200)
    monkeypatch.setattr(blocks.figures, "curves", lambda *args: "")
    monkeypatch.setattr(blocks.figures, "rows", lambda *args: "")


def _scores(cell: CellRef, finals: pa.Table, metric: str) -> Scores:
    rng = generator("scores", cell.path)
    units = rng.normal(0.6, 0.1, (3, 9))
    total = units.mean(axis=1)
    without = (units.sum(axis=1, keepdims=True) - units) / 8
    names = tuple(f"u{i}" for i in range(9))
    return Scores(total, without, (0, 1, 2), (0, 0, 0), names, "patient", train_units=6)


def _cells(tasks: int) -> tuple[list[CellRef], dict[str, pa.Table]]:
    cells: list[CellRef] = []
    rows = {}
    for task in range(tasks):
        for fraction in _FRACTIONS:
            for name in _NAMES:
                path = f"cells/{name}/t{task}/finetune/{fraction:g}"
                repeats = tuple(RepeatRef(i, Storage.open("/nowhere"), f"{path}/{i}", "done") for i in range(3))
                cells.append(_Counted(path, name, f"t{task}", "classification", "finetune", fraction, ("accuracy",),
                                      repeats, "patient", (Seen(f"t{task}", NONE),)))  # fmt: skip
                values = [{"metric": "accuracy", "test_set": f"t{task}", "repeat": i, "value": 0.6, "n_images": 40,
                           "n_units": 6, "n_val_images": 8, "n_val_units": 2, "n_test_images": 90, "n_test_units": 9,
                           "n_folds": 1, "pretraining_seed": 0} for i in range(3)]  # fmt: skip
                rows[path] = pa.Table.from_pylist(values, schema=RESULT_SCHEMA)
    return cells, rows


def _reads(tasks: int) -> int:
    cells, rows = _cells(tasks)
    spec, look = CompareSpec(baseline="imagenet"), marks(_NAMES)
    _Counted.reads = 0
    findings = compare_cells(cells, rows, spec, baseline="imagenet")
    primary = [c for found in findings.tasks for c in [*found.comparisons, *found.means]]
    estimates = list(findings.estimates.values())
    said = answer(findings, compare=spec, checkpoints=_NAMES, finished=len(cells), planned=len(cells))
    assert len(said.sentences) == tasks
    assert task_map(findings, spec, _NAMES) is not None
    pair_maps(findings)
    look_beyond(findings, cells, look, spec)
    value_blocks(cells, findings, look, margin=0.02, late={})
    difference_blocks(primary, look, baseline="imagenet", margin=0.02)
    for table in (main_table(cells, findings), results_table(estimates),
                  differences_table(primary, "imagenet", alpha=0.05, exploratory=False)):  # fmt: skip
        assert table.rows
    largest(cells, "classification", "finetune")
    checkpoint_table({name: [] for name in _NAMES}, cells, {})
    return _Counted.reads


def test_four_times_the_tasks_are_four_times_the_work():
    few, many = _reads(3), _reads(12)
    assert few > 500
    assert many < 4.2 * few, f"{few} reads with 3 tasks, {many} with 12"
