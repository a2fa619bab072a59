"""The report's tables, made from findings: the main one, every number in long form, and what is missing."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from raysweep.report.cells import CellRef, percent
from raysweep.report.findings import Comparison, Estimate, Findings
from raysweep.report.rows import of_metric
from raysweep.report.tables import Shown, Table, number, p_value, with_interval

_RESULTS = ("task", "test set", "protocol", "fraction", "checkpoint", "metric", "value", "low", "high", "interval",
            "repeats", "planned repeats", "pretrainings", "labelled images", "labelled units", "val images",
            "val units", "test images", "test units", "unit", "best of column", "seen")  # fmt: skip
_DIFFERENCES = ("task", "test set", "protocol", "fraction", "checkpoint", "baseline", "metric", "difference", "low",
                "high", "p", "simultaneous low", "simultaneous high", "p corrected", "p equal", "p equal corrected",
                "equal low", "equal high", "SE", "df", "seed sd", "unit sd", "smallest detectable", "beyond two sd",
                "repeats", "test units", "comparisons", "family", "verdict", "reason", "seen")  # fmt: skip
_PER_CLASS = ("task", "test set", "protocol", "fraction", "checkpoint", "metric", "class", "value", "seen")
_MISSING = ("checkpoint", "task", "protocol", "fraction", "repeats", "status", "reason")


def main_table(cells: Sequence[CellRef], findings: Findings) -> Table:
    """A row per task, protocol and checkpoint, a column per fraction: `0.812 [0.780, 0.844]`, or the cell's status.

    Where there are further test sets, a row is of one test set, which stands beside the task.
    """
    fractions = sorted({cell.fraction for cell in cells})
    lines: dict[tuple[str, str, str, str], dict[float, str]] = {}
    metrics: dict[tuple[str, str, str, str], str] = {}
    for cell in cells:
        key, estimate = (cell.task, cell.test_set, cell.protocol, cell.checkpoint), findings.estimates.get(cell.key)
        lines.setdefault(key, {})[cell.fraction] = value_text(estimate) if estimate else cell.status
        if estimate:
            metrics[key] = estimate.metric
    several = any(cell.tested_on for cell in cells)
    rows = [[*((key[0], key[1]) if several else (key[0],)), key[2], metrics.get(key, ""), key[3],
             *(own.get(f, "") for f in fractions)] for key, own in lines.items()]  # fmt: skip
    headers = tuple(percent(f) for f in fractions)
    first = ("task", "test set") if several else ("task",)
    return Table("main", (*first, "protocol", "metric", "checkpoint", *headers), rows, frozenset(headers))


def matrix_table(cells: Sequence[CellRef], findings: Findings) -> Table:
    """What was trained on against what was tested on: a row per task, a column per test set, as Kataria et al. 2023.

    For each protocol, fraction and checkpoint. Of tasks that have further test sets, or are one; empty where none are.
    """
    further = [cell for cell in cells if cell.tested_on]
    crossed = {name for cell in further for name in (cell.task, cell.tested_on)}
    columns = tuple(dict.fromkeys(cell.test_set for cell in cells if cell.test_set in crossed))
    lines: dict[tuple[str, float, str, str], dict[str, str]] = {}
    metrics: dict[tuple[str, float, str, str], str] = {}
    for cell in cells:
        if cell.task not in crossed:
            continue
        key, estimate = (cell.protocol, cell.fraction, cell.checkpoint, cell.task), findings.estimates.get(cell.key)
        lines.setdefault(key, {})[cell.test_set] = value_text(estimate) if estimate else cell.status
        if estimate:
            metrics[key] = estimate.metric
    place = {name: i for i, name in enumerate(dict.fromkeys(cell.checkpoint for cell in cells))}
    ordered = sorted(lines.items(), key=lambda line: (*line[0][:2], place[line[0][2]]))
    rows = [[protocol, percent(fraction), name, metrics.get((protocol, fraction, name, task), ""), task,
             *(own.get(test_set, "") for test_set in columns)]
            for (protocol, fraction, name, task), own in ordered]  # fmt: skip
    headers = ("protocol", "fraction", "checkpoint", "metric", "trained on", *(f"on {name}" for name in columns))
    return Table("matrix", headers, rows, frozenset(headers[5:]) | {"fraction"})


def value_text(estimate: Estimate) -> str:
    """A value with its interval, the mark of weights that have seen, a star for the best of its column, its lacks."""
    i = estimate.interval
    text = with_interval(i.value, i.low, i.high) + (f" {estimate.cell.mark}" if estimate.cell.mark else "")
    text += " *" if estimate.best else ""
    return text if estimate.complete else f"{text} ({estimate.repeats})"


def results_table(estimates: Sequence[Estimate]) -> Table:
    """Every estimate in long form."""
    rows = []
    for e in estimates:
        i = e.interval
        rows.append([
            e.cell.task, e.cell.test_set, e.cell.protocol, f"{e.cell.fraction:g}", e.cell.checkpoint, e.metric,
            number(i.value),
            number(i.low), number(i.high), i.reason or "t, logit", str(i.n_repeats),
            str(len(e.cell.repeats)), str(e.pretrainings), str(e.n_images), str(e.n_train_units), str(e.n_val_images),
            str(e.n_val_units), str(e.n_test_images), str(i.n_units), e.unit,
            "yes" if e.best else "", _seen(e.cell),
        ])  # fmt: skip
    numbers = frozenset(_RESULTS) - {"task", "test set", "protocol", "checkpoint", "metric", "interval", "unit",
                                      "best of column", "seen"}  # fmt: skip
    return Table("results", _RESULTS, rows, numbers)


def differences_table(
    comparisons: Sequence[Comparison], baseline: str, *, alpha: float, exploratory: bool = False
) -> Table:
    """Every comparison with the baseline in long form; p values that were not corrected have no verdict.

    seed sd, unit sd: square roots of the variance components of `report.crossed`. alpha: for the smallest difference
    that is found with a power of 80 %, corrected for the family (Bonferroni). exploratory: the comparison was changed
    after results were there.
    """
    primary = "exploratory" if exploratory else "primary"
    rows = []
    for c in comparisons:
        v = c.verdict
        rows.append([
            c.cell.task, c.cell.test_set, c.cell.protocol, Shown("mean", "") if c.fractions else f"{c.cell.fraction:g}",
            c.cell.checkpoint, baseline, c.metric, *_numbers(c, alpha), str(v.m) if v else "",
            primary if c.primary else "exploratory", v.word if v else "",
            c.why, _seen(c.cell),
        ])  # fmt: skip
    words = {
        "task",
        "test set",
        "protocol",
        "checkpoint",
        "baseline",
        "metric",
        "beyond two sd",
        "family",
        "verdict",
        "reason",
        "seen",
    }
    return Table("differences", _DIFFERENCES, rows, frozenset(_DIFFERENCES) - words)


def _numbers(c: Comparison, alpha: float) -> list[str]:
    """From `difference` to `test units`; empty where nothing was compared."""
    d, v, found = c.difference, c.verdict, c.difference.found if c.difference else None
    if d is None:
        return [""] * 19
    sd = [found.seed**0.5, found.unit**0.5, found.smallest_detectable(alpha, v.m if v else 1)] if found else [None] * 3
    return [
        number(d.value, sign=True), number(d.low, sign=True), number(d.high, sign=True), p_value(d.p),
        number(v.low if v else None, sign=True), number(v.high if v else None, sign=True),
        p_value(v.p_corrected if v else None), p_value(d.p_equal), p_value(v.p_equal_corrected if v else None),
        number(d.equal_low, sign=True), number(d.equal_high, sign=True), number(found.se if found else None),
        number(found.df if found else None, 1), *(number(x) for x in sd),
        "" if d.two_sd is None else "yes" if d.two_sd else "no", str(d.n_repeats), str(d.n_units),
    ]  # fmt: skip


def per_class_table(estimates: Sequence[Estimate], found: Mapping[str, pa.Table]) -> Table:
    """Per class, the mean over repeats, in the metric of the estimate."""
    rows = []
    for e in estimates:
        table = of_metric(found[e.cell.path], e.metric, e.cell.test_set)
        values = table["per_class"].to_pylist()
        for k, name in enumerate(table["classes"][0].as_py() or []):
            own = [v[k] for v in values if v and k < len(v) and v[k] == v[k]]
            rows.append([
                e.cell.task, e.cell.test_set, e.cell.protocol, f"{e.cell.fraction:g}", e.cell.checkpoint,
                table["metric"][0].as_py(), name, number(sum(own) / len(own) if own else float("nan")), _seen(e.cell),
            ])  # fmt: skip
    return Table("per_class", _PER_CLASS, rows, frozenset({"fraction", "value"}))


def missing_table(cells: Sequence[CellRef]) -> Table:
    """Planned repeats that have no result."""
    rows = []
    for c in cells:
        left = [r for r in c.repeats if r.status != "done"]
        for status, reason in dict.fromkeys((r.status, r.reason) for r in left):
            numbers = ", ".join(str(r.number) for r in left if (r.status, r.reason) == (status, reason))
            rows.append([c.checkpoint, c.task, c.protocol, percent(c.fraction), numbers, status, reason])
    return Table("missing", _MISSING, rows, frozenset({"fraction"}))


def _seen(cell: CellRef) -> str:
    """What the checkpoint has seen of the test set, in a word."""
    return next((found.word for found in cell.seen if found.test_set == cell.test_set), "")
