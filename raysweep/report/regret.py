"""What a search found with how many trials: the best value so far, and whether it might have found more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raysweep.report import figures
from raysweep.report.cells import CellRef, percent
from raysweep.report.file_names import file_name
from raysweep.report.findings import Estimate
from raysweep.report.style import Mark
from raysweep.report.tables import Table, metric_words, number

FEWEST_TRIALS = 3  # with fewer it says nothing that the best one came last
MOST_SERIES = 12
_HEADERS = ("task", "protocol", "fraction", "checkpoint", "searches", "selected by", "trials", "best so far",
            "best came last", "at an edge")  # fmt: skip


@dataclass(frozen=True)
class Searched:
    """Of one task and protocol, at its largest fraction: a figure (an SVG's text), what it shows, and what is to be
    said of its searches at any fraction."""

    task: str
    protocol: str
    fraction: float
    caption: str
    figure: str
    figure_name: str
    alt: str
    notes: list[str]


@dataclass(frozen=True)
class SearchCurve:
    """Of one cell: best value on validation after 1, 2, ... trials, mean over its searches (nan where one has none
    yet). last: searches whose best trial was the last one. select: by what settings were chosen."""

    best: np.ndarray
    searches: int
    last: int
    select: str


def search_curves(cells: Sequence[CellRef]) -> dict[str, SearchCurve]:
    """By `CellRef.path`, of the cells that were searched and whose trials can be read.

    A search is one repeat's in one fold; its trials are taken in the order in which they ran, not averaged over orders:
    what a search tries depends on what it tried before. Only trials that ran to their end count, since others cannot be
    chosen.
    """
    return {cell.path: found for cell in cells if (found := _curve(cell))}


def tell_searches(
    cells: Sequence[CellRef],
    curves: Mapping[str, SearchCurve],
    estimates: Mapping[str, Estimate],
    marks: Mapping[str, Mark],
) -> tuple[list[Searched], dict[str, str], Table]:
    """Searches in the order of the cells; by `CellRef.path` in how many the last trial was the best, `3 of 5`, where
    that is half of them or more; and a row for each cell and number of trials.

    curves: of the cells. estimates: where settings chosen at an end of their range are noted.
    """
    groups: dict[tuple[str, str], list[CellRef]] = {}
    for cell in cells:
        if cell.path in curves:
            groups.setdefault((cell.task, cell.protocol), []).append(cell)
    lines = []
    for cell in cells:
        if (c := curves.get(cell.path)) is not None:
            edge = ", ".join(e.at_edge) if (e := estimates.get(cell.key)) else ""
            lines += [[cell.task, cell.protocol, f"{cell.fraction:g}", cell.checkpoint, str(c.searches), c.select,
                       str(i + 1), number(float(v)), f"{c.last}", edge] for i, v in enumerate(c.best)]  # fmt: skip
    numbers = frozenset({"fraction", "searches", "trials", "best so far", "best came last"})
    out = [_searched(own, curves, estimates, marks) for own in groups.values()]
    late = {path: f"{c.last} of {c.searches}" for path, c in curves.items() if 2 * c.last >= c.searches}
    return out, late, Table("regret", _HEADERS, lines, numbers)


def best_so_far(values: Sequence[float | None], select: str) -> np.ndarray:
    """Best value after each trial, float64 (n,): the highest, or the lowest `val_loss`; nan before there is one."""
    less = select == "val_loss"
    own = np.array([np.nan if v is None else float(v) for v in values])
    return np.fmin.accumulate(own) if less else np.fmax.accumulate(own)


def came_last(values: Sequence[float | None], select: str) -> bool:
    """Whether the best value is that of the last trial alone; not said of fewer than FEWEST_TRIALS trials."""
    best = best_so_far(values, select)
    return bool(len(best) >= FEWEST_TRIALS and best[-1] == best[-1] and best[-1] != best[-2])


def _curve(cell: CellRef) -> SearchCurve | None:
    searches: list[tuple[list[float | None], str]] = []
    for repeat in cell.repeats:
        if repeat.status != "done":
            continue
        try:
            columns = ["fold", "number", "status", "value", "select"]
            trials = repeat.folder.read_table("trials.parquet", columns=columns)
        except (OSError, KeyError, pa.ArrowException):
            continue
        if set(trials.column_names) != set(columns):
            continue
        folds: dict[int, list[dict]] = {}
        for row in trials.sort_by([("fold", "ascending"), ("number", "ascending")]).to_pylist():
            folds.setdefault(row["fold"], []).append(row)
        searches += [([r["value"] if r["status"] == "done" else None for r in own], own[0]["select"])
                     for own in folds.values()]  # fmt: skip
    searches = [s for s in searches if s[1] == searches[0][1]]
    if not searches:
        return None
    n, select = min(len(values) for values, _ in searches), searches[0][1]
    best = np.mean([best_so_far(values, select)[:n] for values, _ in searches], axis=0)
    return SearchCurve(best, len(searches), sum(came_last(values, select) for values, _ in searches), select)


def _searched(
    cells: Sequence[CellRef],
    curves: Mapping[str, SearchCurve],
    estimates: Mapping[str, Estimate],
    marks: Mapping[str, Mark],
) -> Searched:
    most = max(cell.fraction for cell in cells)
    shown = [cell for cell in cells if cell.fraction == most]
    select = curves[shown[0].path].select
    of = "loss" if select == "val_loss" else metric_words(shown[0].metrics[0])
    series = {}
    for cell in shown[:MOST_SERIES]:
        best = curves[cell.path].best
        points = [(float(i + 1), float(v)) for i, v in enumerate(best) if v == v]
        if points and curves[cell.path].select == select:
            series[cell.checkpoint] = points
    first = shown[0]
    caption = (
        f"{of[0].upper()}{of[1:]} on validation of the best setting after so many trials, {percent(most)} of the "
        "labels: mean over repeats and folds, trials as they ran. Not a result: values on validation are chosen from."
    )
    figure = figures.lines(series, dict(marks), f"best {of} on val", "trials") if series else ""
    ends = {name: points[-1][1] for name, points in series.items()}
    alt = f"Best {of} on validation against trials, {first.task}, {first.protocol}; after the last trial " + ", ".join(
        f"{name} {number(v, 3)}" for name, v in ends.items()
    )
    notes = []
    if len(shown) > MOST_SERIES:
        notes.append(f"Drawn: the first {MOST_SERIES} of {len(shown)}.")
    late = [(c, curves[c.path]) for c in cells if 2 * curves[c.path].last >= curves[c.path].searches]
    if late:
        where = ", ".join(f"{c.checkpoint} at {percent(c.fraction)} ({x.last} of {x.searches})" for c, x in late[:8])
        more = f" and {len(late) - 8} more" if len(late) > 8 else ""
        notes.append(f"The last trial was the best in half of the searches or more: {where}{more}. More trials may "
                     "find better settings.")  # fmt: skip
    edges = [(c, e.at_edge) for c in cells if (e := estimates.get(c.key)) and e.at_edge]
    if edges:
        where = ", ".join(f"{c.checkpoint} at {percent(c.fraction)} ({', '.join(names)})" for c, names in edges[:8])
        more = f" and {len(edges) - 8} more" if len(edges) > 8 else ""
        notes.append(f"Chosen at an edge of the searched range in half of the repeats or more: {where}{more}.")
    name = file_name(f"search-{first.task}-{first.protocol}")
    return Searched(first.task, first.protocol, most, caption, figure, name, alt, notes)
