import numpy as np
import pyarrow as pa
import pytest

from raysweep.report.blocks import value_blocks
from raysweep.report.compare import compare_cells
from raysweep.report.rows import of_metric, read_rows
from raysweep.report.spec import CompareSpec, Primary
from raysweep.report.style import marks
from raysweep.transfer.metrics import score

from .fake_study import make_study, with_status, write_cell


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    skills = {"imagenet": 0.9, "random": 0.1, "simclr": 1.6, "twin": 0.92}
    return make_study(tmp_path_factory.mktemp("compare"), fractions=(0.5, 1.0), units=24, skills=skills)


def compared(study, cells=None, compare=None, baseline="imagenet"):
    cells = cells or study.cells
    compare = compare or study.compare
    rows, cells = read_rows(cells, compare.primary.metric)
    return compare_cells(cells, rows, compare, baseline=baseline)


def word(comparison):
    """The verdict, whether by more than the margin or not."""
    return comparison.verdict.word.removesuffix(" by more than the margin")


def values(cell, metric):
    return of_metric(read_rows([cell], metric)[0][cell.path], metric, cell.task)["value"].to_numpy()


def test_known_effects_are_found(study):
    findings = compared(study)
    words = {}
    for c in findings.comparisons:
        if c.primary:
            words.setdefault(c.cell.checkpoint, set()).add(word(c))
    assert words["random"] == {"worse"}
    assert words["simclr"] == {"better"}
    assert words["twin"] <= {"undecided", "no difference that matters", "not worse by the margin"}
    assert len([c for c in findings.comparisons if c.primary]) == 3 * 2 * 2  # checkpoints, tasks, fractions


def test_best_is_better_than_every_other(study):
    findings = compared(study)
    assert {e.cell.checkpoint for e in findings.estimates.values() if e.best} == {"simclr"}
    without = [c for c in study.cells if c.checkpoint in ("imagenet", "twin")]
    assert not any(e.best for e in compared(study, without).estimates.values())  # a lead by luck gets no star
    open_end = [with_status(c, "running") if c.checkpoint == "twin" else c for c in study.cells]
    assert not any(e.best for e in compared(study, open_end).estimates.values())


def test_values_are_means_over_repeats(study):
    findings = compared(study)
    for cell in study.cells[:3]:
        interval = findings.estimates[cell.path].interval
        assert interval.value == pytest.approx(values(cell, cell.metrics[0]).mean())
        assert interval.low < interval.value < interval.high
        assert (interval.n_units, interval.n_repeats) == (24, 3)


def test_other_protocols_are_secondary(study):
    linear = [c for c in compared(study).comparisons if c.cell.protocol == "linear"]
    assert linear
    assert all(c.verdict is None and c.difference.p is not None for c in linear)


def test_an_unfinished_baseline_leaves_a_reason_and_stays_in_the_count(study):
    lost = [c for c in study.cells if c.checkpoint == "imagenet" and c.fraction == 0.5 and c.task == "tissue"]
    cells = [with_status(c, "failed", "no memory") if c in lost else c for c in study.cells]
    findings = compared(study, cells)
    without = [c for c in findings.comparisons if c.primary and c.difference is None]
    assert {c.reason for c in without} == {"baseline imagenet: repeat 0: no memory"}
    assert {c.verdict.word for c in without} == {"not compared"}
    some = next(c for c in findings.comparisons if c.primary and c.difference and c.cell.checkpoint == "twin")
    same = next(c for c in compared(study).comparisons if c.cell == some.cell)
    assert (some.difference, some.verdict.m) == (same.difference, same.verdict.m)
    assert some.verdict.p_corrected >= same.verdict.p_corrected - 0.002  # what is not there counts as a stranger


def test_missing_predictions_keep_the_value_and_lose_the_interval(tmp_path):
    study = make_study(tmp_path, fractions=(1.0,), tasks=("tissue",), protocols=("finetune",))
    study.cells[0].repeats[1].folder.remove("predictions")
    findings = compared(study)
    found = findings.estimates[study.cells[0].path].interval
    assert found.low is None
    assert "cannot be read" in found.reason
    assert found.value == pytest.approx(values(study.cells[0], "balanced_accuracy").mean())
    assert all(c.difference is None and c.reason.startswith("baseline imagenet") for c in findings.comparisons)


def test_primary_metric_replaces_the_task_own_where_it_fits(study):
    compare = CompareSpec(baseline="imagenet", primary=Primary(metric="auroc"))
    findings = compared(study, compare=compare)
    metrics = {(e.cell.task, e.metric) for e in findings.estimates.values()}
    assert metrics == {("tissue", "auroc"), ("glands", "dice")}
    cell = study.cells[0]
    found = [score(r.folder.read_table("predictions", "tissue.parquet"), "auroc", cell.kind) for r in cell.repeats]
    assert findings.estimates[cell.path].interval.value == pytest.approx(sum(found) / 3)


def lacking(study, checkpoint, repeat=2):
    """The cells, with a repeat of one checkpoint that diverged."""
    for cell in study.cells:
        if cell.checkpoint == checkpoint:
            tables = [r.folder.read_table("predictions", f"{cell.task}.parquet") for r in cell.repeats]
            tables[repeat] = "training diverged at step 30"
            write_cell(study.folder, cell, tables)


@pytest.mark.parametrize("lost", ["simclr", "random", "imagenet"])
def test_a_checkpoint_that_lacks_a_repeat_is_called_neither_better_nor_equal(tmp_path, lost):
    skills = {"imagenet": 0.9, "random": 0.1, "simclr": 1.6}
    study = make_study(tmp_path, fractions=(1.0,), tasks=("tissue",), protocols=("finetune",), skills=skills, repeats=4)
    lacking(study, lost)
    findings = compared(study)
    estimate = next(e for e in findings.estimates.values() if e.cell.checkpoint == lost)
    assert (estimate.repeats, estimate.complete) == ("3 of 4 repeats", False)
    assert estimate.lacking == ("repeat 2: training diverged at step 30",)
    assert estimate.interval.value == pytest.approx(np.nanmean(values(estimate.cell, "balanced_accuracy")))
    words = {c.cell.checkpoint: (word(c), c.reason) for c in findings.comparisons}
    said = f"{lost}: 3 of 4 repeats (repeat 2: training diverged at step 30)"
    expected = {"simclr": ("better", ""), "random": ("worse", "")}
    if lost == "imagenet":
        expected = {"simclr": ("better", said), "random": ("undecided", said)}
    elif lost == "simclr":
        expected["simclr"] = ("undecided", said)
    else:
        expected["random"] = ("worse", said)  # what is missing would hardly be better
    assert words == expected
    assert {e.cell.checkpoint for e in findings.estimates.values() if e.best} == ({"simclr"} - {lost})


def test_equal_is_not_said_of_what_lacks_a_repeat(tmp_path):
    how = {"fractions": (1.0,), "tasks": ("tissue",), "protocols": ("finetune",), "repeats": 4, "units": 60}
    compare = CompareSpec(baseline="imagenet", margin=0.2)
    for lost, word in ((None, "no difference that matters"), ("twin", "undecided"), ("imagenet", "undecided")):
        study = make_study(tmp_path / str(lost), skills={"imagenet": 0.9, "twin": 0.9}, **how)
        if lost:
            lacking(study, lost)
        assert [c.verdict.word for c in compared(study, compare=compare).comparisons] == [word]


def test_a_cell_without_any_value_has_no_estimate(tmp_path):
    study = make_study(tmp_path, fractions=(1.0,), tasks=("tissue",), protocols=("finetune",))
    cell = study.cells[2]
    write_cell(study.folder, cell, ["all 8 trials failed; the first: the loss is nan"] * 3)
    findings = compared(study)
    assert cell.path not in findings.estimates
    [comparison] = [c for c in findings.comparisons if c.cell.checkpoint == cell.checkpoint]
    assert comparison.reason == "repeat 0: all 8 trials failed; the first: the loss is nan"
    assert comparison.verdict.word == "not compared"


def test_settings_at_the_edge_of_their_range_are_noted(tmp_path):
    found = make_study(tmp_path, fractions=(1.0,), units=24, skills={"imagenet": 0.9, "random": 0.1})
    cells = [c for c in found.cells if c.protocol == "finetune"]
    for cell, edges in zip(cells, ([["lr"], ["lr", "drop"], []], [["lr"], [], []]), strict=False):
        for repeat, names in zip(cell.repeats, edges, strict=True):
            table = repeat.folder.read_table("final.parquet")
            at = table.schema.get_field_index("at_edge")
            column = pa.array([names] * table.num_rows, table.schema.field(at).type)
            repeat.folder.write_table(table.set_column(at, "at_edge", column), "final.parquet")
    findings = compared(found)
    assert [findings.estimates[c.path].at_edge for c in cells[:2]] == [("lr",), ()]
    look = marks(sorted({c.checkpoint for c in found.cells}))
    blocks = value_blocks(found.cells, findings, look, margin=0.02, late={})
    notes = [note for block in blocks for note in block.notes if "edge" in note]
    assert notes == [
        f"{cells[0].checkpoint} at 100 %: the best lr lies at the edge of the searched range in half of the repeats or "
        "more; a wider search space may do better."
    ]


def test_one_final_each_is_not_enough_data_whatever_the_difference(tmp_path):
    skills = {"imagenet": 0.1, "simclr": 3.0}
    study = make_study(tmp_path, fractions=(1.0,), tasks=("tissue",), protocols=("finetune",), skills=skills, repeats=1)
    [comparison] = compared(study).comparisons
    assert comparison.verdict.word == "not enough data"
    assert comparison.difference.reason == "1 repeat: at least 3 are needed"
    assert not any(e.best for e in compared(study).estimates.values())


def test_a_star_says_what_the_corrected_p_values_say(study):
    findings = compared(study)
    for found in findings.tasks:
        assert len(found.means) == 3
        assert {v.verdict.m for v in [*found.comparisons, *found.means]} == {9}
        assert set(found.best) == {0.5, 1.0, None}
        for fraction in found.fractions:
            pairs = [p for p in found.pairs if p.fraction == fraction]
            assert len(pairs) == 6
            starred = [e.cell for e in findings.estimates.values()
                       if e.best and e.cell.task == found.task and e.cell.fraction == fraction
                       and e.cell.protocol == "finetune"]  # fmt: skip
            for cell in starred:
                own = [p for p in pairs if cell.checkpoint in (p.first, p.second)]
                assert all(p.verdict.p_corrected < 0.05 for p in own)
                assert found.best[fraction] == (cell.checkpoint,)
                with_base = next(c for c in found.comparisons if c.cell == cell)
                assert with_base.verdict.p_corrected < 0.05
    assert not any(e.best for e in findings.estimates.values() if e.cell.protocol == "linear")
