import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from raysweep.errors import WorkError
from raysweep.report import jackknife
from raysweep.report.cells import CellRef
from raysweep.report.jackknife import read_scores
from raysweep.report.rows import read_rows
from raysweep.storage import Storage
from raysweep.transfer.metrics import score

from .fake_study import classification, make_cell, segmentation, write_cell


def read(home: Storage, tables: list[pa.Table], kind: str, metric: str, task: str = "t", **more):
    cell = make_cell(home, "a", task, kind, "finetune", 1.0, repeats=len(tables), metrics=(metric,))
    write_cell(home, cell, tables, **more)
    return cell, read_scores(cell, rows_of(cell), metric)


def rows_of(cell: CellRef) -> pa.Table:
    return read_rows([cell], None)[0][cell.path]


@pytest.mark.parametrize(
    ("kind", "metric"), [("classification", "auroc"), ("classification", "accuracy"), ("segmentation", "macro_dice")]
)
def test_values_are_those_of_the_metric_on_what_is_left(tmp_path, kind, metric):
    make = classification if kind == "classification" else segmentation
    tables = [make(seed, units=7, images=3, skill=0.7) for seed in range(2)]
    _, scores = read(Storage.open(tmp_path), tables, kind, metric)
    assert scores.units == tuple(f"u{i:03d}" for i in range(7))
    assert scores.unit == "unit"
    for s, table in enumerate(tables):
        assert scores.values[s] == pytest.approx(score(table, metric, kind))
        for u, unit in enumerate(scores.units):
            left = table.filter(pc.not_equal(table["unit"], unit))
            assert scores.without[s, u] == pytest.approx(score(left, metric, kind))
    assert scores.lack == "7 test units: at least 8 are needed"


def test_a_class_of_one_patient_is_no_metric_without_that_class(tmp_path):
    table = classification(0, units=12, images=4, skill=0.7)
    label = pa.array([int(unit == "u000") for unit in table["unit"].to_pylist()], pa.int32())
    _, scores = read(Storage.open(tmp_path), [table.set_column(3, "label", label)] * 3, "classification",
                     "balanced_accuracy")  # fmt: skip
    assert scores.lack == "1 test unit has class tumour: at least 5 are needed"


def test_what_ranks_stays_within_its_fold(tmp_path):
    table = classification(0, units=8, images=4, skill=0.7)
    fold = pc.cast(pc.greater_equal(table["unit"], "u004"), pa.int32())
    folded = table.set_column(2, "fold", fold)
    _, accuracy = read(Storage.open(tmp_path), [table, folded], "classification", "accuracy")
    assert np.array_equal(accuracy.without[0], accuracy.without[1])
    _, auroc = read(Storage.open(tmp_path), [folded], "classification", "auroc")
    parts = [score(folded.filter(pc.equal(fold, f)), "auroc", "classification") for f in (0, 1)]
    assert auroc.values[0] == pytest.approx(np.mean(parts))
    left = folded.filter(pc.not_equal(folded["unit"], "u002"))
    assert auroc.without[0, 2] == pytest.approx(score(left, "auroc", "classification"))


def test_an_image_is_told_from_a_unit(tmp_path):
    table = classification(0, units=8, images=1, skill=0.7)
    table = table.set_column(1, "unit", table["sample"])
    assert read(Storage.open(tmp_path), [table], "classification", "accuracy")[1].unit == "image"


@pytest.mark.parametrize("kind", ["classification", "segmentation"])
def test_many_units_are_dealt_to_blocks(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(jackknife, "MOST_BLOCKS", 30)
    make, metric = (classification, "accuracy") if kind == "classification" else (segmentation, "dice")
    table = make(0, units=100, images=2, skill=0.7)
    _, scores = read(Storage.open(tmp_path), [table], kind, metric, task="many")
    assert (scores.without.shape, len(scores.units)) == ((1, 30), 100)
    assert scores.values[0] == pytest.approx(score(table, metric, kind))
    blocks = jackknife._blocks(scores.units)
    assert set(np.bincount(blocks)) == {3, 4}
    kept = np.isin(np.array(table["unit"]), np.array(scores.units)[blocks != 5])
    assert scores.without[0, 5] == pytest.approx(score(table.filter(kept), metric, kind))


def test_repeats_and_pretrainings_come_from_the_rows(tmp_path):
    tables = [classification(seed, units=7, images=3, skill=0.7) for seed in range(3)]
    _, scores = read(Storage.open(tmp_path), tables, "classification", "accuracy", pretrainings=2)
    assert (scores.repeats, scores.pretrainings) == ((0, 1, 2), (0, 1, 0))


@pytest.mark.parametrize(
    "metric", ["mean_patient_accuracy", "patient_vote_accuracy", "patient_auroc", "quadratic_kappa"]
)
def test_metrics_of_units_are_those_of_what_is_left(tmp_path, metric):
    table = classification(0, units=8, images=4, skill=0.7)
    of_unit = pa.array([int(unit[1:]) % 2 for unit in table["unit"].to_pylist()], pa.int32())
    table = table.set_column(3, "label", of_unit)
    _, scores = read(Storage.open(tmp_path), [table], "classification", metric)
    assert scores.values[0] == pytest.approx(score(table, metric, "classification"))
    left = table.filter(pc.not_equal(table["unit"], "u003"))
    assert scores.without[0, 3] == pytest.approx(score(left, metric, "classification"))
    assert scores.bounds == ((-1, 1) if metric == "quadratic_kappa" else (0, 1))


def test_missing_or_disagreeing_predictions_are_said(tmp_path):
    tables = [classification(0, units=7, images=3, skill=0.7), classification(1, units=8, images=3, skill=0.7)]
    home = Storage.open(tmp_path)
    with pytest.raises(WorkError, match="different units"):
        read(home, tables, "classification", "accuracy")
    cell, _ = read(home, tables[:1], "classification", "accuracy")
    finals, folder = rows_of(cell), cell.repeats[0].folder
    folder.write_bytes(b"not parquet", "predictions", "t.parquet")
    with pytest.raises(WorkError, match="predictions of repeat 0 cannot be read"):
        read_scores(cell, finals, "accuracy")
    folder.write_table(tables[0].drop_columns("scores"), "predictions", "t.parquet")
    with pytest.raises(WorkError, match="predictions of repeat 0 hold no counts for the metric accuracy"):
        read_scores(cell, finals, "accuracy")
    folder.remove("predictions", "t.parquet")
    with pytest.raises(WorkError, match="cannot be read"):
        read_scores(cell, finals, "accuracy")
