"""All cells in numbers: an estimate for each, and the paired differences to the baseline with their verdicts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from raysweep.errors import WorkError, reason_of
from raysweep.report.cells import CellRef
from raysweep.report.drop import Drop, relative_drop
from raysweep.report.findings import Comparison, Estimate, Findings, TaskFindings
from raysweep.report.intervals import Interval, Scores, cell_interval, paired_difference
from raysweep.report.jackknife import read_scores
from raysweep.report.judging import judge_task
from raysweep.report.rows import fits, of_metric
from raysweep.report.rules import rules
from raysweep.report.spec import CompareSpec
from raysweep.report.worth_views import task_worths
from raysweep.transfer.schema import RESULT_SCHEMA


def compare_cells(
    cells: Sequence[CellRef], rows: Mapping[str, pa.Table], compare: CompareSpec, *, baseline: str
) -> Findings:
    """Estimates of all cells that have results and differences to the baseline.

    cells: in the order of the page, those on further test sets for themselves (`on_further`). rows: what `read_rows`
    gave.
    """
    columns: dict[tuple[str, str, str, float], list[CellRef]] = {}
    for cell in cells:
        columns.setdefault((cell.task, cell.test_set, cell.protocol, cell.fraction), []).append(cell)
    estimates: dict[str, Estimate] = {}
    comparisons: list[Comparison] = []
    families: dict[str, dict[float, dict[str, Scores]]] = {}  # of the primary protocol: by task, fraction, checkpoint
    lacking_of: dict[str, dict[float, set[str]]] = {}
    at_home: dict[str, Scores] = {}  # of cells that are tested elsewhere as well
    drops: list[Drop] = []
    for (task, _, protocol, fraction), column in columns.items():
        asked = compare.primary.metric
        metric = asked if asked and fits(asked, column[0].kind) else column[0].metrics[0]
        scores: dict[str, Scores] = {}
        problems: dict[str, str] = {}
        for cell in column:
            own = of_metric(rows.get(cell.path, RESULT_SCHEMA.empty_table()), metric, cell.test_set)
            lacking = _lacking(cell, own)
            valued = own.filter(pc.is_valid(own["value"]))
            if not valued.num_rows:
                problems[cell.checkpoint] = lacking[0]
                continue
            try:
                scores[cell.checkpoint] = read_scores(cell, valued, metric)
            except WorkError as error:
                problems[cell.checkpoint] = reason_of(error)
            scored = scores.get(cell.checkpoint)
            estimates[cell.key] = _estimate(cell, valued, metric, scored, problems, compare.alpha, lacking)
        at_home |= {cell.path: scores[cell.checkpoint] for cell in column if cell.further and cell.checkpoint in scores}
        drops += _drops(column, scores, at_home, metric, compare)
        comparisons += _differences(column, scores, estimates, problems, metric, baseline, compare)
        if protocol == compare.primary.protocol and not column[0].tested_on:
            families.setdefault(task, {})[fraction] = scores
            short = {cell.checkpoint for cell in column if (e := estimates.get(cell.key)) and not e.complete}
            lacking_of.setdefault(task, {})[fraction] = short
    tasks, judged = [], {id(c): c for c in comparisons}
    members_of: dict[str, list[Comparison]] = {}
    for c in comparisons:
        if _primary(c.cell, compare):
            members_of.setdefault(c.cell.task, []).append(c)
    for task, own in families.items():
        if task in members_of:
            members = sorted(members_of[task], key=lambda c: c.cell.fraction)
            found = judge_task(members, own, compare, lacking=lacking_of[task])
            worth = task_worths(found, own, lacking_of[task], estimates, compare, baseline=baseline)
            tasks.append(replace(found, worth=worth))
            judged |= {id(c): verdict for c, verdict in zip(members, tasks[-1].comparisons, strict=True)}
    for key in _starred(tasks, columns, estimates, compare):
        estimates[key] = replace(estimates[key], best=True)
    return Findings(baseline, estimates, [judged[id(c)] for c in comparisons], tasks, drops)


def _primary(cell: CellRef, compare: CompareSpec) -> bool:
    """Verdicts are about the tasks' own test sets under one protocol; everything else is exploratory."""
    return cell.protocol == compare.primary.protocol and not cell.tested_on


def _drops(
    column: Sequence[CellRef], scores: Mapping[str, Scores], at_home: Mapping[str, Scores], metric: str,
    compare: CompareSpec,
) -> list[Drop]:  # fmt: skip
    """Of a column on a further test set; its cells' own test sets come before it."""
    found = [relative_drop(cell, metric, at_home[cell.path], scores[cell.checkpoint], alpha=compare.alpha)
             for cell in column if cell.tested_on and cell.checkpoint in scores and cell.path in at_home]  # fmt: skip
    return [drop for drop in found if drop]


def _estimate(
    cell: CellRef,
    rows: pa.Table,
    metric: str,
    scores: Scores | None,
    problems: dict[str, str],
    alpha: float,
    lacking: tuple[str, ...],
) -> Estimate:
    """`rows` are those of the metric that have a value."""
    if scores:
        interval = cell_interval(scores, alpha)
    else:  # the value stands in the result rows; its interval needs the predictions
        value = float(rows["value"].to_numpy().mean())
        units = int(rows["n_test_units"].to_numpy().max())
        interval = Interval(value, None, None, units, rows.num_rows, problems[cell.checkpoint])
    return Estimate(
        cell=cell,
        metric=metric,
        interval=interval,
        n_images=round(rows["n_images"].to_numpy().mean()),
        n_train_units=round(rows["n_units"].to_numpy().mean()),
        n_val_images=round(rows["n_val_images"].to_numpy().mean()),
        n_val_units=round(rows["n_val_units"].to_numpy().mean()),
        n_test_images=int(rows["n_test_images"].to_numpy().max()),
        n_folds=rows["n_folds"][0].as_py(),
        pretrainings=len(set(rows["pretraining_seed"].to_pylist())),
        unit=scores.unit if scores else cell.unit or "unit",
        lacking=lacking,
        at_edge=_at_edge(rows),
    )


def _at_edge(rows: pa.Table) -> tuple[str, ...]:
    counts = Counter(name for names in rows["at_edge"].to_pylist() for name in names or ())
    return tuple(sorted(name for name, n in counts.items() if 2 * n >= rows.num_rows))


def _starred(
    tasks: Sequence[TaskFindings],
    columns: Mapping[tuple[str, str, str, float], Sequence[CellRef]],
    estimates: Mapping[str, Estimate],
    compare: CompareSpec,
) -> list[str]:
    """Keys of the cells that were found better than each other one of their column, by the p values of all pairs.

    One that lacks a repeat is not among them: what is missing may be its bad one."""
    out = []
    for found in tasks:
        wins = Counter(
            (pair.fraction, pair.first if pair.difference.value > 0 else pair.second)
            for pair in found.pairs
            if (p := pair.verdict.p_corrected) is not None and p < compare.alpha
        )
        for fraction in found.fractions:
            column = columns[found.task, found.task, compare.primary.protocol, fraction]
            for cell in column:
                whole = cell.key in estimates and estimates[cell.key].complete
                if whole and 0 < len(column) - 1 == wins[fraction, cell.checkpoint]:
                    out.append(cell.key)
    return out


def _differences(
    column: list[CellRef],
    scores: dict[str, Scores],
    estimates: dict[str, Estimate],
    problems: dict[str, str],
    metric: str,
    baseline: str,
    compare: CompareSpec,
) -> list[Comparison]:
    of = {cell.checkpoint: estimates.get(cell.key) for cell in column}
    marks = {cell.checkpoint: cell.mark for cell in column}
    out = []
    for cell in column:
        if cell.checkpoint == baseline:
            continue
        difference, reason, lacks = None, "", (False, False)
        if cell.checkpoint not in scores:
            reason = problems[cell.checkpoint]
        elif baseline not in scores:
            reason = f"baseline {baseline}: {problems.get(baseline, 'not in this column')}"
        else:
            difference = paired_difference(
                scores[cell.checkpoint], scores[baseline], alpha=compare.alpha, margin=compare.margin,
                test=rules()[compare.rule].test,
            )  # fmt: skip
            short = [(name, e) for name in (cell.checkpoint, baseline) if (e := of[name]) and not e.complete]
            lacks = (cell.checkpoint in dict(short), baseline in dict(short))
            reason = "; ".join(f"{name}: {e.repeats} ({e.lacking[0]})" for name, e in short)
        mark = "".join(dict.fromkeys([cell.mark, marks.get(baseline, "")]))
        out.append(Comparison(cell, metric, difference, None, reason, lacks, mark))
    return out


def _lacking(cell: CellRef, rows: pa.Table) -> tuple[str, ...]:
    """`repeat 2: training diverged at step 30` for each planned repeat that has no value."""
    found = {row["repeat"]: row for row in rows.select(["repeat", "value", "reason"]).to_pylist()}
    out = []
    for repeat in cell.repeats:
        row = found.get(repeat.number)
        if row is None:
            out.append(f"repeat {repeat.number}: {repeat.reason or repeat.status}")
        elif row["value"] is None:
            out.append(f"repeat {repeat.number}: {row['reason']}")
    return tuple(out)
