import numpy as np
import pyarrow as pa
import pytest

from raysweep.report.enough import lacks_data, lacks_runs
from raysweep.transfer.metrics import get_metric
from raysweep.transfer.metrics.rows import Rows

from .fake_study import classification, segmentation

CLASSES = ["stroma", "tumour"]


def lack(table: pa.Table, metric: str, kind: str = "classification") -> str:
    rows = Rows(table)
    return lacks_data(rows, get_metric(metric, kind), rows.units, CLASSES)


def labelled(units_of_tumour: int, units: int = 12) -> pa.Table:
    """Only the first units have tumour, in every other image."""
    table = classification(0, units=units, images=4, skill=0.8)
    of_row = np.array([int(u[1:]) < units_of_tumour for u in table["unit"].to_pylist()])
    label = (of_row & (np.arange(len(of_row)) % 2 == 0)).astype(np.int32)
    return table.set_column(3, "label", pa.array(label))


@pytest.mark.parametrize(("units", "enough"), [(1, False), (7, False), (8, True)])
def test_units_are_counted(units, enough):
    said = lack(classification(0, units=units, images=2, skill=1.0), "accuracy")
    assert said == ("" if enough else f"{units} test unit{'s' * (units > 1)}: at least 8 are needed")


@pytest.mark.parametrize("metric", ["auroc", "balanced_accuracy", "macro_f1", "patient_auroc"])
def test_a_class_needs_five_units(metric):
    assert lack(labelled(1), metric) == "1 test unit has class tumour: at least 5 are needed"
    assert lack(labelled(4), metric) == "4 test units have class tumour: at least 5 are needed"
    assert lack(labelled(5), metric) == ""
    assert lack(labelled(1), "accuracy") == ""


def test_a_fold_with_a_single_unit_of_a_class_is_said_where_metrics_rank():
    table = labelled(6)
    fold = np.array([int(u[1:]) in (5, 6, 7) for u in table["unit"].to_pylist()]).astype(np.int32)
    folded = table.set_column(2, "fold", pa.array(fold))
    assert lack(folded, "auroc").startswith("in fold 1 a single test unit has class tumour")
    assert lack(folded, "balanced_accuracy") == ""


def test_unequal_units_weigh_as_fewer():
    table = segmentation(0, units=12, images=1, skill=0.7)
    assert lack(table, "dice", "segmentation") == ""
    large = [[x * (200 if i == 0 else 1) for x in row] for i, row in enumerate(table["tp"].to_pylist())]
    table = table.set_column(3, "tp", pa.array(large, table.schema.field("tp").type))
    assert "they weigh as 1." in lack(table, "dice", "segmentation")
    assert lack(table, "image_dice", "segmentation") == ""  # each image counts once


def test_weight_is_what_was_to_be_found_and_not_what_was():
    rows = Rows(segmentation(0, units=9, images=1, skill=0.7))
    worse = Rows(segmentation(1, units=9, images=1, skill=0.3))
    metric = get_metric("dice", "segmentation")
    assert metric.mass(rows) == pytest.approx(metric.mass(worse))
    assert (metric.held(rows)).all()


def test_repeats_are_counted():
    assert lacks_runs(3) == ""
    assert lacks_runs(1) == "1 repeat: at least 3 are needed"
