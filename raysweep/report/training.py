"""How finals came to their values: the task's metric on validation against steps, for each checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raysweep.report import figures
from raysweep.report.cells import CellRef, percent
from raysweep.report.file_names import file_name
from raysweep.report.style import Mark
from raysweep.report.tables import metric_words, number

MOST_SERIES = 12
_COLUMNS = ["search", "best_last", "evaluations"]


@dataclass(frozen=True)
class Trained:
    """Of one task and protocol, at its largest fraction: a figure (an SVG's text), what it shows, and remarks."""

    task: str
    protocol: str
    caption: str
    figure: str
    figure_name: str
    alt: str
    notes: list[str]


@dataclass(frozen=True)
class _Curve:
    """Of one cell: mean value on validation by step, and of how many of its finals the last evaluation was the best."""

    values: dict[int, float]
    finals: int
    last: int


def read_trainings(cells: Sequence[CellRef], marks: Mapping[str, Mark], *, baseline: str) -> list[Trained]:
    """A figure for each task and protocol whose finals were evaluated twice or more, in the order of the cells.

    At each step the mean over those repeats and folds, if all of them were evaluated there. Each remark compares a
    checkpoint's lead over the baseline at the first and at the last step: whether it only learned faster.
    """
    groups: dict[tuple[str, str], list[CellRef]] = {}
    for cell in cells:
        if not cell.tested_on:
            groups.setdefault((cell.task, cell.protocol), []).append(cell)
    out = []
    for own in groups.values():
        most = max(cell.fraction for cell in own)
        curves = {c.checkpoint: found for c in own if c.fraction == most and (found := _curve(c))}
        if any(len(curve.values) > 1 for curve in curves.values()):
            out.append(_trained(own[0], most, curves, marks, baseline))
    return out


def _curve(cell: CellRef) -> _Curve | None:
    values: dict[int, list[float]] = {}
    finals = last = runs = 0
    for repeat in cell.repeats:
        if repeat.status != "done":
            continue
        try:
            row = repeat.folder.read_table("final.parquet", columns=_COLUMNS).slice(0, 1).to_pylist()[0]
            if row["search"] == "none":  # a frozen protocol walks along a path, not along steps
                return None
            steps = [(e["fold"], e["step"], e["val_metric"]) for e in row["evaluations"]]
            ended = bool(row["best_last"])
        except (OSError, KeyError, IndexError, pa.ArrowException):  # of an older run, or damaged
            continue
        finals, last, runs = finals + 1, last + ended, runs + len({fold for fold, *_ in steps})
        for _, step, value in steps:
            values.setdefault(step, []).append(value)
    mean = {step: float(np.mean(own)) for step, own in sorted(values.items()) if len(own) == runs}
    return _Curve({s: v for s, v in mean.items() if v == v}, finals, last) if mean else None


def _trained(
    cell: CellRef, fraction: float, curves: Mapping[str, _Curve], marks: Mapping[str, Mark], baseline: str
) -> Trained:
    metric = metric_words(cell.metrics[0])
    shown = dict(list(curves.items())[:MOST_SERIES])
    series = {name: [(float(s), v) for s, v in curve.values.items()] for name, curve in shown.items() if curve.values}
    caption = (
        f"{metric[0].upper()}{metric[1:]} on validation while finals were trained, {percent(fraction)} of the labels, "
        "mean over repeats and folds. Lines that meet at the right: one only learned faster. On validation, no result."
    )
    notes = [f"Drawn: the first {MOST_SERIES} of {len(curves)}."] if len(curves) > MOST_SERIES else []
    leads = [
        f"{name} {said}" for name, c in shown.items() if name != baseline and (said := _lead(c, curves.get(baseline)))
    ]
    if leads:
        steps = sorted(curves[baseline].values)
        notes.append(
            f"Difference to {baseline} on validation at step {steps[0]}, and at step {steps[-1]}: {'; '.join(leads)}."
        )
    late = [f"{name} ({c.last} of {c.finals})" for name, c in curves.items() if 2 * c.last >= c.finals > 0]
    if late:
        notes.append(
            f"At their best when they ended, in half of the finals or more: {', '.join(late)}. More steps may help."
        )
    ends = ", ".join(f"{name} {number(points[-1][1], 3)}" for name, points in series.items())
    alt = f"{metric} on validation against training steps, {cell.task}, {cell.protocol}; at the last step {ends}"
    figure = figures.lines(series, dict(marks), f"{metric} on val", "steps", logarithmic=True)
    return Trained(
        cell.task, cell.protocol, caption, figure, file_name(f"training-{cell.task}-{cell.protocol}"), alt, notes
    )


def _lead(curve: _Curve, base: _Curve | None) -> str:
    """`+0.120, +0.010`: the difference to the baseline at the first and the last step; empty unless both have both."""
    if base is None or len(base.values) < 2 or curve.values.keys() != base.values.keys():
        return ""
    first, last = (curve.values[s] - base.values[s] for s in (min(base.values), max(base.values)))
    return f"{number(first, 3, sign=True)}, {number(last, 3, sign=True)}"
