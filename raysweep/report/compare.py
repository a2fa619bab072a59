"""All cells in numbers: an estimate for each, and the paired differences to the baseline with their verdicts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from raysweep.errors import WorkError, reason_of
from raysweep.report.cells import CellRef
from raysweep.report.family import BETTER, SAME, UNDECIDED, WORSE, Verdict, judge
from raysweep.report.intervals import Difference, Interval, Scores, cell_interval, paired_difference
from raysweep.report.resample import read_scores
from raysweep.report.rows import fits, of_metric
from raysweep.report.spec import CompareSpec
from raysweep.transfer.schema import RESULT_SCHEMA


@dataclass(frozen=True)
class Estimate:
    """A cell with results: its value over repeats with an interval, and how many labels it was given.

    n_images, n_train_units: labelled images and their units, n_val_images, n_val_units those of them that settings
    were chosen by; means over repeats, rounded. pretrainings: how many pretrainings of the checkpoint its repeats
    started from. lacking: a sentence for each planned repeat that has no value. best: better than every other
    checkpoint of its column (same task, test set, protocol and fraction). at_edge: settings whose chosen value lies at
    an end of their range in half of the repeats or more.
    """

    cell: CellRef
    metric: str
    interval: Interval
    n_images: int
    n_train_units: int
    n_val_images: int
    n_val_units: int
    n_test_images: int
    n_folds: int
    pretrainings: int
    unit: str
    lacking: tuple[str, ...] = ()
    best: bool = False
    at_edge: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every planned repeat has a value."""
        return not self.lacking

    @property
    def repeats(self) -> str:
        """`5 repeats`, or `4 of 5 repeats`."""
        planned = len(self.cell.repeats)
        count = str(planned) if self.complete else f"{planned - len(self.lacking)} of {planned}"
        return f"{count} repeat{'s' * (planned != 1)}"


@dataclass(frozen=True)
class Comparison:
    """A checkpoint against the baseline on one task, test set, protocol and fraction.

    verdict: None outside the primary family, where p values are not corrected and nothing is concluded.
    reason: why `difference` is None, or what the verdict does not allow for: repeats that have no value.
    lacks: whether the checkpoint, and whether the baseline, lacks the value of a planned repeat.
    mark: what stands beside the difference, because the one or the other has seen what it is tested on.
    """

    cell: CellRef
    metric: str
    difference: Difference | None
    verdict: Verdict | None
    reason: str
    lacks: tuple[bool, bool] = (False, False)
    mark: str = ""

    @property
    def primary(self) -> bool:
        return self.verdict is not None


@dataclass(frozen=True)
class Findings:
    """Everything the report says about checkpoints.

    estimates: cells with results, by `CellRef.key`. comparisons: in the order of columns, then checkpoints.
    """

    baseline: str
    estimates: dict[str, Estimate]
    comparisons: list[Comparison]


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
    for column in columns.values():
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
            found = scores.get(cell.checkpoint)
            estimates[cell.key] = _estimate(cell, valued, metric, found, problems, compare.alpha, lacking)
        best = _best(column, scores, estimates, compare)
        if best:
            estimates[best] = replace(estimates[best], best=True)
        comparisons += _differences(column, scores, estimates, problems, metric, baseline, compare)
    return Findings(baseline, estimates, _judged(comparisons, compare))


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
        interval = Interval(value, None, None, units, rows.num_rows, "none", problems[cell.checkpoint])
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


def _best(
    column: list[CellRef], scores: dict[str, Scores], estimates: dict[str, Estimate], compare: CompareSpec
) -> str | None:
    """Key of the cell that is better than each other one of its column; None when there is none such.

    Every paired difference must be found, at alpha divided by the number of others: whichever checkpoint truly leads,
    another is called best only if it was found better than that one, and there are that many others.
    """
    others = len(column) - 1
    if others < 1 or len(scores) <= others:
        return None
    top = max(column, key=lambda cell: float(scores[cell.checkpoint].values.mean()))
    if not estimates[top.key].complete:
        return None
    for cell in column:
        if cell is not top:
            d = paired_difference(
                scores[top.checkpoint], scores[cell.checkpoint], alpha=compare.alpha, margin=compare.margin
            )
            if d.p is None or d.p * others >= compare.alpha:
                return None
    return top.key


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
                scores[cell.checkpoint], scores[baseline], alpha=compare.alpha, margin=compare.margin
            )
            short = [(name, e) for name in (cell.checkpoint, baseline) if (e := of[name]) and not e.complete]
            lacks = (cell.checkpoint in dict(short), baseline in dict(short))
            reason = "; ".join(f"{name}: {e.repeats} ({e.lacking[0]})" for name, e in short)
        mark = "".join(dict.fromkeys([cell.mark, marks.get(baseline, "")]))
        out.append(Comparison(cell, metric, difference, None, reason, lacks, mark))
    return out


def _judged(comparisons: list[Comparison], compare: CompareSpec) -> list[Comparison]:
    """The same, with verdicts over the primary family: the tasks' own test sets under one protocol."""
    family = [i for i, c in enumerate(comparisons) if c.cell.protocol == compare.primary.protocol
              and not c.cell.tested_on]  # fmt: skip
    verdicts = judge([comparisons[i].difference for i in family], alpha=compare.alpha, margin=compare.margin)
    judged = list(comparisons)
    for i, verdict in zip(family, verdicts, strict=True):
        judged[i] = replace(comparisons[i], verdict=_allowed(verdict, comparisons[i].lacks))
    return judged


def _allowed(verdict: Verdict, lacks: tuple[bool, bool]) -> Verdict:
    """What repeats without a value allow to be said: those that are missing may be the bad ones.

    A checkpoint that lacks some is called neither better nor equal; where the baseline does, nobody is called worse.
    """
    ours, base = lacks
    barred = ({BETTER, SAME} if ours else set()) | ({WORSE, SAME} if base else set())
    return replace(verdict, word=UNDECIDED) if verdict.word in barred else verdict


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
