"""All cells in numbers: an estimate for each, and the paired differences to the baseline with their verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from raysweep.errors import WorkError, reason_of
from raysweep.report.cells import CellRef
from raysweep.report.family import Verdict, judge
from raysweep.report.intervals import Difference, Interval, Scores, cell_interval, paired_difference
from raysweep.report.resample import read_scores
from raysweep.report.spec import CompareSpec
from raysweep.tasks.card import CLASSIFICATION_METRICS, SEGMENTATION_METRICS


@dataclass(frozen=True)
class Estimate:
    """A finished cell: its value over runs with an interval, and how many labels it was given.

    n_images, n_train_units: labelled images and their units; means over runs, rounded.
    pretrainings: how many pretrainings of the checkpoint its runs started from. best: better than every other
    checkpoint of its column (same task, protocol and fraction).
    """

    cell: CellRef
    metric: str
    interval: Interval
    n_images: int
    n_train_units: int
    n_test_images: int
    pretrainings: int
    unit: str
    best: bool = False


@dataclass(frozen=True)
class Comparison:
    """A checkpoint against the baseline on one task, protocol and fraction.

    verdict: None outside the primary family, where p values are not corrected and nothing is concluded.
    reason: why `difference` is None.
    """

    cell: CellRef
    metric: str
    difference: Difference | None
    verdict: Verdict | None
    reason: str

    @property
    def primary(self) -> bool:
        return self.verdict is not None


@dataclass(frozen=True)
class Findings:
    """Everything the report says about checkpoints.

    estimates: finished cells, by `CellRef.path`. comparisons: in the order of columns, then checkpoints.
    test_units: names of the tested units, by task.
    """

    baseline: str
    estimates: dict[str, Estimate]
    comparisons: list[Comparison]
    test_units: dict[str, frozenset[str]]


def compare_cells(
    cells: Sequence[CellRef], finals: Mapping[str, pa.Table], compare: CompareSpec, *, baseline: str
) -> Findings:
    """Estimates of all finished cells and differences to the baseline.

    cells: in the order of the page. finals: rows of finished cells, by `CellRef.path`.
    """
    columns: dict[tuple[str, str, float], list[CellRef]] = {}
    for cell in cells:
        columns.setdefault((cell.task, cell.protocol, cell.fraction), []).append(cell)
    estimates: dict[str, Estimate] = {}
    comparisons: list[Comparison] = []
    test_units: dict[str, frozenset[str]] = {}
    for column in columns.values():
        metric = _metric(column, finals, compare.primary.metric)
        scores: dict[str, Scores] = {}
        problems: dict[str, str] = {}
        for cell in column:
            if cell.path not in finals:
                problems[cell.checkpoint] = f"{cell.status}: {cell.reason}" if cell.reason else cell.status
                continue
            try:
                scores[cell.checkpoint] = read_scores(cell, finals[cell.path], metric)
            except WorkError as error:
                problems[cell.checkpoint] = reason_of(error)
            found = scores.get(cell.checkpoint)
            estimates[cell.path] = _estimate(cell, finals[cell.path], metric, found, problems, compare.alpha)
            if found:
                test_units[cell.task] = test_units.get(cell.task, frozenset()) | frozenset(found.units)
        best = _best(column, scores, compare)
        for path, estimate in estimates.items():
            if best and path == best:
                estimates[path] = replace(estimate, best=True)
        comparisons += _differences(column, scores, problems, metric, baseline, compare)
    return Findings(baseline, estimates, _judged(comparisons, compare), test_units)


def _metric(column: list[CellRef], finals: Mapping[str, pa.Table], asked: str | None) -> str:
    """The study's primary metric where it fits the kind of task, else the task's own."""
    known = CLASSIFICATION_METRICS if column[0].kind == "classification" else SEGMENTATION_METRICS
    if asked in known:
        return str(asked)
    own = [finals[cell.path]["metric"][0].as_py() for cell in column if cell.path in finals]
    return own[0] if own else ""


def _estimate(
    cell: CellRef, rows: pa.Table, metric: str, scores: Scores | None, problems: dict[str, str], alpha: float
) -> Estimate:
    if scores:
        interval = cell_interval(scores, alpha)
    else:  # the value stands in the result rows, if it is of this metric; its interval needs the predictions
        same = rows["metric"][0].as_py() == metric
        value = float(rows["value"].to_numpy().mean()) if same else float("nan")
        units = int(rows["n_test_units"].to_numpy().max())
        interval = Interval(value, None, None, units, rows.num_rows, "none", problems[cell.checkpoint])
    return Estimate(
        cell=cell,
        metric=metric,
        interval=interval,
        n_images=round(rows["n_images"].to_numpy().mean()),
        n_train_units=round(rows["n_units"].to_numpy().mean()),
        n_test_images=int(rows["n_test_images"].to_numpy().max()),
        pretrainings=len(set(rows["pretraining_seed"].to_pylist())),
        unit=scores.unit if scores else cell.unit or "unit",
    )


def _best(column: list[CellRef], scores: dict[str, Scores], compare: CompareSpec) -> str | None:
    """Path of the cell that is better than each other one of its column; None when there is none such.

    Every paired difference must be found, at alpha divided by the number of others: whichever checkpoint truly leads,
    another is called best only if it was found better than that one, and there are that many others.
    """
    others = len(column) - 1
    if others < 1 or len(scores) <= others:
        return None
    top = max(column, key=lambda cell: float(scores[cell.checkpoint].values.mean()))
    for cell in column:
        if cell is not top:
            d = paired_difference(
                scores[top.checkpoint], scores[cell.checkpoint], alpha=compare.alpha, margin=compare.margin
            )
            if d.p is None or d.p * others >= compare.alpha:
                return None
    return top.path


def _differences(
    column: list[CellRef],
    scores: dict[str, Scores],
    problems: dict[str, str],
    metric: str,
    baseline: str,
    compare: CompareSpec,
) -> list[Comparison]:
    out = []
    for cell in column:
        if cell.checkpoint == baseline:
            continue
        difference, reason = None, ""
        if cell.checkpoint not in scores:
            reason = problems[cell.checkpoint]
        elif baseline not in scores:
            reason = f"baseline {baseline}: {problems.get(baseline, 'not in this column')}"
        else:
            difference = paired_difference(
                scores[cell.checkpoint], scores[baseline], alpha=compare.alpha, margin=compare.margin
            )
        out.append(Comparison(cell, metric, difference, None, reason))
    return out


def _judged(comparisons: list[Comparison], compare: CompareSpec) -> list[Comparison]:
    """The same, with verdicts over the primary family."""
    family = [i for i, c in enumerate(comparisons) if c.cell.protocol == compare.primary.protocol]
    verdicts = judge([comparisons[i].difference for i in family], alpha=compare.alpha, margin=compare.margin)
    judged = list(comparisons)
    for i, verdict in zip(family, verdicts, strict=True):
        judged[i] = replace(comparisons[i], verdict=verdict)
    return judged
