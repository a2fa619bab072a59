from dataclasses import replace

import pytest

from raysweep.report.compare import compare_cells
from raysweep.report.spec import CompareSpec, Primary
from raysweep.transfer.metrics import score

from .fake_study import make_study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    skills = {"imagenet": 0.9, "random": 0.1, "simclr": 1.6, "twin": 0.92}
    return make_study(tmp_path_factory.mktemp("compare"), fractions=(0.5, 1.0), units=24, skills=skills)


def compared(study, cells=None, compare=None, baseline="imagenet"):
    cells = cells or study.cells
    finals = {c.path: c.folder.read_table("finals.parquet") for c in cells if c.status == "done"}
    return compare_cells(cells, finals, compare or study.compare, baseline=baseline)


def test_known_effects_are_found(study):
    findings = compared(study)
    words = {}
    for c in findings.comparisons:
        if c.primary:
            words.setdefault(c.cell.checkpoint, set()).add(c.verdict.word)
    assert words["random"] == {"worse"}
    assert words["simclr"] == {"better"}
    assert words["twin"] <= {"undecided", "no difference that matters"}
    assert len([c for c in findings.comparisons if c.primary]) == 3 * 2 * 2  # checkpoints, tasks, fractions


def test_best_is_better_than_every_other(study):
    findings = compared(study)
    assert {e.cell.checkpoint for e in findings.estimates.values() if e.best} == {"simclr"}
    without = [c for c in study.cells if c.checkpoint in ("imagenet", "twin")]
    assert not any(e.best for e in compared(study, without).estimates.values())  # a lead by luck gets no star
    open_end = [replace(c, status="running") if c.checkpoint == "twin" else c for c in study.cells]
    assert not any(e.best for e in compared(study, open_end).estimates.values())


def test_values_are_means_over_finals(study):
    findings = compared(study)
    for cell in study.cells[:3]:
        rows = cell.folder.read_table("finals.parquet")
        interval = findings.estimates[cell.path].interval
        assert interval.value == pytest.approx(rows["value"].to_numpy().mean())
        assert interval.low < interval.value < interval.high
        assert (interval.n_units, interval.n_runs, interval.basis) == (24, 3, "bootstrap")


def test_other_protocols_are_secondary(study):
    linear = [c for c in compared(study).comparisons if c.cell.protocol == "linear"]
    assert linear
    assert all(c.verdict is None and c.difference.p is not None for c in linear)


def test_an_unfinished_baseline_leaves_a_reason_and_stays_in_the_count(study):
    lost = [c for c in study.cells if c.checkpoint == "imagenet" and c.fraction == 0.5 and c.task == "tissue"]
    cells = [replace(c, status="failed", reason="all trials failed") if c in lost else c for c in study.cells]
    findings = compared(study, cells)
    without = [c for c in findings.comparisons if c.primary and c.difference is None]
    assert {c.reason for c in without} == {"baseline imagenet: failed: all trials failed"}
    assert {c.verdict.word for c in without} == {"not compared"}
    some = next(c for c in findings.comparisons if c.primary and c.difference and c.cell.checkpoint == "twin")
    same = next(c for c in compared(study).comparisons if c.cell == some.cell)
    assert (some.difference, some.verdict.p_holm) == (same.difference, pytest.approx(same.verdict.p_holm))


def test_missing_predictions_keep_the_value_and_lose_the_interval(tmp_path):
    study = make_study(tmp_path, fractions=(1.0,), tasks=("tissue",), protocols=("finetune",))
    study.cells[0].folder.remove("predictions")
    findings = compared(study)
    found = findings.estimates[study.cells[0].path].interval
    assert found.low is None
    assert "cannot be read" in found.reason
    assert found.value == pytest.approx(study.cells[0].folder.read_table("finals.parquet")["value"].to_numpy().mean())
    assert all(c.difference is None and c.reason.startswith("baseline imagenet") for c in findings.comparisons)


def test_primary_metric_replaces_the_task_own_where_it_fits(study):
    compare = CompareSpec(baseline="imagenet", primary=Primary(metric="auroc"))
    findings = compared(study, compare=compare)
    metrics = {(e.cell.task, e.metric) for e in findings.estimates.values()}
    assert metrics == {("tissue", "auroc"), ("glands", "dice")}
    cell = study.cells[0]
    values = [
        score(cell.folder.read_table("predictions", f"seed{i}-fold0.parquet"), "auroc", cell.kind) for i in range(3)
    ]
    assert findings.estimates[cell.path].interval.value == pytest.approx(sum(values) / 3)
