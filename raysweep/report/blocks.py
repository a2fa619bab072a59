"""The page's blocks: for each task and protocol a table and a figure; for each task its differences to the baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raysweep.report import figures
from raysweep.report.cells import CellRef, percent
from raysweep.report.figures import Point, short
from raysweep.report.file_names import file_name
from raysweep.report.findings import Comparison, Estimate, Findings
from raysweep.report.sizes import unit_words
from raysweep.report.style import Mark
from raysweep.report.tables import metric_words, number, p_value

MOST_SERIES = 12  # checkpoints in one figure
MOST_LINES = 40  # rows of one figure
_DETAILS = 8  # named in a sentence before "and N more"


@dataclass(frozen=True)
class ValueCell:
    """One cell of a value table. text: the value; below: its interval, or why it has none, and what it lacks."""

    text: str
    below: str
    best: bool = False
    missing: bool = False


@dataclass(frozen=True)
class ValueBlock:
    """Values of one task, as it was tested, and one protocol: a row per checkpoint, a column per fraction, and a figure
    (an SVG's text; `alt` says what it shows)."""

    task: str
    protocol: str
    metric: str
    caption: str
    columns: list[tuple[str, list[str]]]
    rows: list[tuple[str, list[ValueCell]]]
    notes: list[str]
    figure: str | None
    figure_name: str
    figure_note: str
    alt: str


@dataclass(frozen=True)
class DifferenceBlock:
    """Differences of one task: rows of text, the verdict last, and a figure."""

    task: str
    metric: str
    rows: list[tuple[str, list[str], str, str]]
    notes: list[str]
    figure: str | None
    figure_name: str
    figure_note: str
    alt: str


def value_blocks(
    cells: Sequence[CellRef],
    findings: Findings,
    marks: Mapping[str, Mark],
    *,
    margin: float,
    late: Mapping[str, str],
) -> list[ValueBlock]:
    """Blocks in the order of the cells.

    margin: a curve that falls by more than this with more labels is told. late: by `CellRef.path`, in how many of its
    searches the last trial was the best, `3 of 5`; of cells that this is to be said of.
    """
    groups: dict[tuple[str, str], list[CellRef]] = {}
    for cell in cells:
        groups.setdefault((cell.tested, cell.protocol), []).append(cell)
    return [_values(task, protocol, own, findings, marks, margin, late) for (task, protocol), own in groups.items()]


def _values(
    task: str, protocol: str, cells: list[CellRef], findings: Findings, marks: Mapping[str, Mark], margin: float,
    late: Mapping[str, str],
) -> ValueBlock:  # fmt: skip
    fractions = sorted({c.fraction for c in cells})
    names = list(dict.fromkeys(c.checkpoint for c in cells))
    at = {(c.checkpoint, c.fraction): c for c in cells}
    found = {key: findings.estimates[c.key] for key, c in at.items() if c.key in findings.estimates}
    metric = next((e.metric for e in found.values()), "")
    rows = [(name, [_value_cell(at.get((name, f)), found.get((name, f))) for f in fractions]) for name in names]
    labels = {f: _labels([e for (_, g), e in found.items() if g == f]) for f in fractions}
    images = {fraction: e.n_images for (_, fraction), e in found.items()}
    series: dict[str, dict[float, Point]] = {}
    for (name, fraction), e in found.items():
        i = e.interval
        if i.value == i.value:
            series.setdefault(name, {})[fraction] = Point(i.value, i.low, i.high)
    falls = _falls(series, margin)
    series, cut = _fewer(series, findings.baseline)
    rings = _rings(cells[0], findings, series)
    figure = None
    if series and len(fractions) > 1:
        figure = figures.curves(series, dict(marks), metric_words(metric), images, rings)
    elif series:
        lines = {name: [("", p) for p in own.values()] for name, own in series.items()}
        figure = figures.rows(lines, dict(marks), metric_words(metric))
    notes = [*_notes(list(found.values())), *falls, *_late(cells, late)]
    if rings and figure:
        ringed = ", ".join(f"{name} ({percent(f)})" for name, f in rings.items())
        cut = f"Ring: from here on equal to {findings.baseline} within the margin: {ringed}. {cut}".strip()
    columns = [(percent(f), [x for x in labels[f] if x]) for f in fractions]
    return ValueBlock(task, protocol, metric, _caption(list(found.values())), columns, rows, notes, figure,
                      file_name(f"values-{task}-{protocol}"), cut, _alt(task, protocol, metric, series))  # fmt: skip


def _value_cell(cell: CellRef | None, e: Estimate | None) -> ValueCell:
    if cell is None:
        return ValueCell("", "", missing=True)
    if e is None:
        return ValueCell(cell.status if cell.status != "done" else "no value", cell.reason, missing=True)
    i = e.interval
    below = f"{number(i.low, 3)} – {number(i.high, 3)}" if i.low is not None else "no interval"
    return ValueCell(number(i.value, 3) + cell.mark, below if e.complete else f"{below}; {e.repeats}", e.best)


def _labels(found: list[Estimate]) -> tuple[str, str, str]:
    """What a fraction amounts to: `12 images`, `4 patients`, `val: 3 (1)`; a frozen protocol has no val."""
    if not found:
        return "", "", ""
    e = found[0]
    images = f"{e.n_images} image{'s' * (e.n_images != 1)}"
    units = "" if e.unit == "image" else f"{e.n_train_units} {unit_words(e.unit, e.n_train_units)}"
    if not e.n_val_images:
        return images, units, "cross-validated"
    return images, units, f"val: {e.n_val_images}" + (f" ({e.n_val_units})" if units else "")


def _caption(found: list[Estimate]) -> str:
    if not found:
        return "No cell is finished."
    repeats = sorted({e.interval.n_repeats for e in found})
    units = sorted({e.interval.n_units for e in found})
    count = str(repeats[0]) if len(repeats) == 1 else f"{repeats[0]} to {repeats[-1]}"
    first = found[0]
    tested = f"{first.n_test_images} test images"
    if first.unit != "image":
        tested += f" of {units[-1]} {unit_words(first.unit, units[-1])}"
    val = "" if first.unit == "image" else f", and in brackets the {unit_words(first.unit, 2)} they are of"
    return (
        f"Mean of {count} repeat{'s' * (repeats[-1] != 1)} on {tested}; its interval below it. val: the images among "
        f"the labelled ones that settings were chosen by{val}.{_decoder(found)}"
    )


def _decoder(found: list[Estimate]) -> str:
    """A task has one for all its checkpoints."""
    said = found[0].cell.decoder
    return f" Decoder of every checkpoint: {said}." if said else ""


def _notes(found: list[Estimate]) -> list[str]:
    notes = []
    if any(e.unit == "image" for e in found):
        notes.append(
            "The unit is the image: nothing says which images belong to one patient, so how far they depend on each "
            "other is unknown and the intervals may be too narrow."
        )
    reasons = dict.fromkeys(e.interval.reason for e in found if e.interval.low is None)
    notes += [f"No interval: {reason}." for reason in reasons if reason]
    if any(e.interval.n_repeats == 1 for e in found):
        notes.append(
            "One repeat: intervals cover other test units, but no other draw, search or training; there is no verdict."
        )
    notes += [
        f"{e.cell.checkpoint} at {percent(e.cell.fraction)} has {e.repeats}. {'; '.join(e.lacking)}."
        for e in found
        if not e.complete
    ]
    notes += [
        f"{e.cell.checkpoint} at {percent(e.cell.fraction)}: the best {' and '.join(e.at_edge)} lies at the edge of "
        "the searched range in half of the repeats or more; a wider search space may do better."
        for e in found
        if e.at_edge
    ]
    return notes


def _rings(cell: CellRef, findings: Findings, series: Mapping[str, Mapping[float, Point]]) -> dict[str, float]:
    """Of each drawn checkpoint the fraction from which on it equals the baseline within the margin, if there is one."""
    found = findings.family.get(cell.task)
    if found is None or cell.tested_on or found.comparisons[0].cell.protocol != cell.protocol:
        return {}
    starts = {name: c.equal_from for name, c in found.crossovers.items()}
    return {name: found.fractions[i] for name in series if (i := starts.get(name)) is not None}


def _falls(series: Mapping[str, Mapping[float, Point]], margin: float) -> list[str]:
    """A sentence on curves that fall by more than the margin from some number of labels to a larger one."""
    falls = []
    for name, points in series.items():
        own = [(f, points[f].value) for f in sorted(points)]
        drops = [(v - w, f, g, v, w) for i, (f, v) in enumerate(own) for g, w in own[i + 1 :] if v - w > margin]
        if drops:
            _, f, g, v, w = max(drops)
            falls.append(f"{name} ({number(v, 3)} at {percent(f)}, {number(w, 3)} at {percent(g)})")
    if not falls:
        return []
    said = ", ".join(falls[:_DETAILS]) + (f" and {len(falls) - _DETAILS} more" if len(falls) > _DETAILS else "")
    return [f"Lower with more labels, by more than the margin: {said}. Look at the search, the steps and what "
            "was added."]  # fmt: skip


def _late(cells: Sequence[CellRef], late: Mapping[str, str]) -> list[str]:
    """A sentence on cells whose searches may have ended too early."""
    said = [f"{c.checkpoint} at {percent(c.fraction)} ({late[c.path]})" for c in cells if c.path in late]
    if not said or cells[0].tested_on:
        return []
    more = f" and {len(said) - _DETAILS} more" if len(said) > _DETAILS else ""
    return [f"The last trial was the best in half of the searches or more: {', '.join(said[:_DETAILS])}{more}; more "
            "trials may do better."]  # fmt: skip


def _alt(task: str, protocol: str, metric: str, series: Mapping[str, Mapping[float, Point]]) -> str:
    """What a figure of values shows, highest first."""
    if not series:
        return ""
    most = max(f for points in series.values() for f in points)
    last = sorted(((points[most].value, name) for name, points in series.items() if most in points), reverse=True)
    several = any(len(points) > 1 for points in series.values())
    said = ", ".join(f"{name} {number(value, 3)}" for value, name in last[:_DETAILS])
    against = " against labels" if several else ""
    return f"{metric_words(metric)} on {task}, {protocol}{against}; at {percent(most)}: {said}"


def _fewer(series: dict[str, dict[float, Point]], baseline: str) -> tuple[dict[str, dict[float, Point]], str]:
    """At most MOST_SERIES: the baseline and the highest at the largest fraction; and a sentence about the rest."""
    if len(series) <= MOST_SERIES:
        return series, ""
    ranked = sorted(series, key=lambda name: (name != baseline, -series[name][max(series[name])].value))
    kept = set(ranked[:MOST_SERIES])
    note = f"Drawn: the baseline and the {MOST_SERIES - 1} highest of {len(series)}; the table has all."
    return {name: own for name, own in series.items() if name in kept}, note


def difference_blocks(
    comparisons: Sequence[Comparison], marks: Mapping[str, Mark], *, baseline: str, margin: float
) -> list[DifferenceBlock]:
    """One block per task, from comparisons of the primary family; checkpoints together, fractions ascending, then their
    mean."""
    groups: dict[str, list[Comparison]] = {}
    for c in comparisons:
        groups.setdefault(c.cell.task, []).append(c)
    return [_difference(task, own, marks, baseline, margin) for task, own in groups.items()]


def _difference(
    task: str, comparisons: list[Comparison], marks: Mapping[str, Mark], baseline: str, margin: float
) -> DifferenceBlock:
    names = list(dict.fromkeys(c.cell.checkpoint for c in comparisons))
    ordered = sorted(comparisons, key=lambda c: (names.index(c.cell.checkpoint), bool(c.fractions), c.cell.fraction))
    several = len({c.cell.fraction for c in ordered}) > 1
    points: dict[str, list[tuple[str, Point]]] = {}
    drawn = [c for c in ordered if c.difference and c.difference.value == c.difference.value]
    for c in drawn[:MOST_LINES]:
        d = c.difference
        if d:
            label = _label(c) if several else ""
            low, high = (c.verdict.low, c.verdict.high) if c.verdict else (d.low, d.high)
            points.setdefault(c.cell.checkpoint, []).append((label, Point(d.value, low, high)))
    metric = next((c.metric for c in ordered if c.metric), "")
    axis = f"difference in {metric_words(metric)} to {short(baseline)}"
    figure = figures.rows(points, dict(marks), axis, margin) if points else None
    note = f"Drawn: the first {MOST_LINES} of {len(drawn)}." if len(drawn) > MOST_LINES else ""
    rows = [_difference_row(c) for c in ordered]
    notes = ["mean: over the fractions, repeat by repeat."] if any(c.fractions for c in ordered) else []
    said = ", ".join(
        f"{c.cell.checkpoint} {number(c.difference.value, 3, sign=True)}, {c.verdict.word if c.verdict else ''}"
        for c in drawn[:MOST_LINES]
        if c.difference and (c.fractions or not several)
    )
    return DifferenceBlock(task, metric, rows, notes, figure, file_name(f"differences-{task}"), note,
                           f"{axis} on {task}{', mean over labels' if several else ''}: {said}")  # fmt: skip


def _difference_row(c: Comparison) -> tuple[str, list[str], str, str]:
    """Checkpoint; fraction, difference, simultaneous interval, corrected p; verdict; why there is none."""
    d, v = c.difference, c.verdict
    cells = [_label(c)] + [""] * 3
    if d:
        between = ""
        if v and v.low is not None and v.high is not None:
            between = f"{number(v.low, 3, sign=True)} to {number(v.high, 3, sign=True)}"
        value = number(d.value, 3, sign=True) + c.mark
        cells[1:] = [value, between, p_value(v.p_corrected if v else None)]
    return c.cell.checkpoint, cells, v.word if v else "", c.why


def _label(c: Comparison) -> str:
    return "mean" if c.fractions else percent(c.cell.fraction)
